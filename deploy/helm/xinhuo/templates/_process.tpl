{{/*
The objects of a service and role, of deploy/base/service, with what the values say; dict "root" "service" "role".
The Deployment is put together as kustomize does: the file of the role, then process.yaml, then the patches.
*/}}
{{- define "xinhuo.process" -}}
{{- $root := .root -}}
{{- $name := printf "%s-%s" .service .role -}}
{{- $own := index .root.Values.services .service -}}
{{- $values := mergeOverwrite (deepCopy (index .root.Values.roles .role)) (deepCopy (index $own .role | default dict)) -}}
{{- $text := .root.Files.Get (printf "files/base/service/%s.yaml" .role) | replace "SERVICE" .service -}}
{{- range splitList "\n---\n" $text -}}
{{- $object := fromYaml . -}}
{{- if hasKey $object "Error" -}}{{- fail (printf "%s: %s" $name $object.Error) -}}{{- end -}}
{{- if eq $object.kind "Deployment" -}}
  {{- $same := (fromYaml ($root.Files.Get "files/base/service/process.yaml")).spec -}}
  {{- $pod := $object.spec.template.spec -}}
  {{- $container := mergeOverwrite (index $pod.containers 0) (index $same.template.spec.containers 0) -}}
  {{- $_ := set $container "resources" (mergeOverwrite $container.resources (deepCopy ($values.resources | default dict))) -}}
  {{- $volumes := concat $same.template.spec.volumes $pod.volumes -}}
  {{- $_ := set $pod "containers" (list $container) -}}
  {{- $pod = mergeOverwrite (omit $same.template.spec "containers" "volumes") $pod -}}
  {{- $_ := set $pod "volumes" $volumes -}}
  {{- $_ := set $object.spec.template "spec" $pod -}}
  {{- $_ := set $object "spec" (mergeOverwrite (omit $same "template") $object.spec) -}}
  {{- $_ := set $object.spec "replicas" $values.replicas -}}
  {{- range include "xinhuo.patches" (dict "root" $root "service" $.service "role" $.role) | fromJsonArray -}}
    {{- include "xinhuo.add" (dict "pod" $pod "operation" .) -}}
  {{- end -}}
  {{- include "xinhuo.serve" (dict "root" $root "object" $object "pod" $pod) -}}
  {{- range $variable, $value := $values.env -}}
    {{- $added := dict "name" $variable "value" (toString $value) -}}
    {{- $_ := set $container "env" (append $container.env $added) -}}
  {{- end -}}
  {{- /* The number is then the autoscaler's. */ -}}
  {{- $byQueue := and $root.Values.components.keda (has $name (include "xinhuo.scaled" $root | fromJsonArray)) -}}
  {{- if ternary $byQueue $root.Values.components.hpa (eq $.role "worker") -}}{{- $_ := unset $object.spec "replicas" -}}{{- end -}}
{{- end }}
{{ include "xinhuo.emit" (dict "root" $root "object" $object) }}
{{- end -}}
{{- end -}}

{{/* The Deployments for which the component keda has a ScaledObject, as JSON. */}}
{{- define "xinhuo.scaled" -}}
{{- $names := list -}}
{{- range splitList "\n---\n" (.Files.Get "files/components/keda/workers.yaml") -}}
  {{- $object := fromYaml . -}}
  {{- if eq $object.kind "ScaledObject" -}}{{- $names = append $names $object.spec.scaleTargetRef.name -}}{{- end -}}
{{- end -}}
{{- toJson $names -}}
{{- end -}}

{{/* What asks-others and oidc add to a Deployment: their JSON patches, as JSON; dict "root" "service" "role". */}}
{{- define "xinhuo.patches" -}}
{{- $operations := list -}}
{{- $service := fromYaml (.root.Files.Get (printf "files/base/%s/kustomization.yaml" .service)) -}}
{{- if and (eq .role "worker") (has "../asks-others" $service.components) -}}
  {{- $others := fromYaml (.root.Files.Get "files/base/asks-others/kustomization.yaml") -}}
  {{- range $others.patches -}}{{- $operations = concat $operations (fromYamlArray .patch) -}}{{- end -}}
{{- end -}}
{{- if and .root.Values.components.oidc (eq (printf "%s-%s" .service .role) "portal-api") -}}
  {{- $oidc := .root.Values.oidc -}}
  {{- $said := dict "XINHUO_OIDC_ISSUER" $oidc.issuer "XINHUO_OIDC_CLIENT_ID" $oidc.clientId "XINHUO_OIDC_REDIRECT_URL" $oidc.redirectUrl -}}
  {{- $component := fromYaml (.root.Files.Get "files/components/oidc/kustomization.yaml") -}}
  {{- range $component.patches -}}
    {{- range fromYamlArray .patch -}}
      {{- if hasKey $said (.value.name | default "") -}}{{- $_ := set .value "value" (index $said .value.name) -}}{{- end -}}
      {{- $operations = append $operations . -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- toJson $operations -}}
{{- end -}}

{{/* Does what the components of servers add to the pods of an object; dict "root" "object" "pod". */}}
{{- define "xinhuo.serve" -}}
{{- $values := .root.Values -}}
{{- $files := .root.Files -}}
{{- $object := .object -}}
{{- $pod := .pod -}}
{{- range list "rabbitmq-operator" "postgres-cnpg" -}}
  {{- if index $values.components . -}}
    {{- $component := fromYaml ($files.Get (printf "files/components/%s/kustomization.yaml" .)) -}}
    {{- range $component.patches -}}
      {{- $label := splitn "=" 2 (.target.labelSelector | default "") -}}
      {{- $named := or (not .target.name) (eq (.target.name | default "") $object.metadata.name) -}}
      {{- $labelled := or (not $label._0) (eq ($label._1 | default "") (index $object.metadata.labels $label._0 | default "")) -}}
      {{- if and (eq .target.kind $object.kind) $named $labelled -}}
        {{- range fromYamlArray .patch -}}{{- include "xinhuo.add" (dict "pod" $pod "operation" .) -}}{{- end -}}
      {{- end -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* One operation of a JSON patch, of the places that are used; dict "pod" "operation". */}}
{{- define "xinhuo.add" -}}
{{- $operation := .operation -}}
{{- $list := regexReplaceAll "^.*/(initContainers|containers)/0/(env|volumeMounts)/-$" $operation.path "${1} ${2}" | splitList " " -}}
{{- if eq $operation.op "test" -}}
{{- else if eq (len $list) 2 -}}
  {{- $container := index .pod (first $list) | first -}}
  {{- $_ := set $container (last $list) (append (index $container (last $list)) $operation.value) -}}
{{- else if hasSuffix "/spec/volumes/-" $operation.path -}}
  {{- $_ := set .pod "volumes" (append .pod.volumes $operation.value) -}}
{{- else if regexMatch "/volumes/1/projected/sources/0/secret/items/-$" $operation.path -}}
  {{- $secret := (index (index .pod.volumes 1).projected.sources 0).secret -}}
  {{- $_ := set $secret "items" (append $secret.items $operation.value) -}}
{{- else -}}
  {{- fail (printf "本 chart 不会这样的补丁 / a patch that this chart cannot do: %s %s" $operation.op $operation.path) -}}
{{- end -}}
{{- end -}}
