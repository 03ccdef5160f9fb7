{{/*
Each object of this chart goes through "xinhuo.emit": it gets the namespace, and what the values say of its kind.
Those of deploy/base and deploy/components are read from there, so that Kustomize and this chart cannot differ.
*/}}

{{/* All objects of a file; dict "root" $ "file" PATH. */}}
{{- define "xinhuo.file" -}}
{{- $text := .root.Files.Get (printf "files/%s" .file) -}}
{{- if not $text -}}{{- fail (printf "缺少文件 / the file is missing: files/%s" .file) -}}{{- end -}}
{{- $root := .root -}}
{{- $file := .file -}}
{{- range splitList "\n---\n" $text -}}
{{- $object := fromYaml . -}}
{{- if hasKey $object "Error" -}}{{- fail (printf "files/%s: %s" $file $object.Error) -}}{{- end -}}
{{- if $object.kind }}
{{ include "xinhuo.emit" (dict "root" $root "object" $object) }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* One object; dict "root" $ "object" OBJECT. */}}
{{- define "xinhuo.emit" -}}
{{- $values := .root.Values -}}
{{- $object := .object -}}
{{- $spec := $object.spec | default dict -}}
{{- $name := $object.metadata.name -}}
{{- if ne $object.kind "Namespace" -}}{{- $_ := set $object.metadata "namespace" $values.namespace.name -}}{{- end -}}
{{- if eq $object.kind "Namespace" -}}
  {{- $_ := set $object.metadata "name" $values.namespace.name -}}
{{- else if eq $object.kind "ResourceQuota" -}}
  {{- $_ := set $spec "hard" (mergeOverwrite $spec.hard (deepCopy $values.quota)) -}}
{{- else if eq $object.kind "HorizontalPodAutoscaler" -}}
  {{- $scaling := $values.roles.api.autoscaling -}}
  {{- $_ := set $spec "minReplicas" $scaling.min -}}
  {{- $_ := set $spec "maxReplicas" $scaling.max -}}
  {{- range $spec.metrics -}}{{- $_ := set .resource.target "averageValue" $scaling.cpu -}}{{- end -}}
{{- else if eq $object.kind "ScaledObject" -}}
  {{- $scaling := $values.roles.worker.autoscaling -}}
  {{- $_ := set $spec "minReplicaCount" $scaling.min -}}
  {{- $_ := set $spec "maxReplicaCount" $scaling.max -}}
  {{- range $spec.triggers -}}{{- $_ := set .metadata "value" (toString $scaling.messages) -}}{{- end -}}
{{- else if eq $object.kind "Ingress" -}}
  {{- $limits := fromYaml (.root.Files.Get "files/components/ingress/limits.yaml") -}}
  {{- $annotations := mergeOverwrite (dict) ($object.metadata.annotations | default dict) $limits.metadata.annotations -}}
  {{- $_ := set $object.metadata "annotations" (mergeOverwrite $annotations (deepCopy $values.ingress.annotations)) -}}
  {{- $_ := set $spec "ingressClassName" $values.ingress.className -}}
  {{- $domain := $values.ingress.domain -}}
  {{- range $spec.rules -}}{{- $_ := set . "host" (printf "%s.%s" (splitList "." .host | first) $domain) -}}{{- end -}}
  {{- range $spec.tls -}}
    {{- $hosts := list -}}
    {{- range .hosts -}}{{- $hosts = append $hosts (printf "%s.%s" (splitList "." . | first) $domain) -}}{{- end -}}
    {{- $_ := set . "hosts" $hosts -}}
  {{- end -}}
{{- else if eq $object.kind "ExternalSecret" -}}
  {{- $_ := set $spec "secretStoreRef" (deepCopy $values.externalSecrets.store) -}}
  {{- $_ := set $spec "refreshInterval" $values.externalSecrets.refreshInterval -}}
{{- else if eq $object.kind "RabbitmqCluster" -}}
  {{- $_ := set $spec "replicas" $values.rabbitmq.replicas -}}
  {{- $_ := set $spec.persistence "storage" $values.rabbitmq.storage -}}
  {{- with $values.rabbitmq.storageClass -}}{{- $_ := set $spec.persistence "storageClassName" . -}}{{- end -}}
{{- else if eq $object.kind "Cluster" -}}
  {{- $_ := set $spec "instances" $values.postgresql.instances -}}
  {{- $_ := set $spec.storage "size" $values.postgresql.storage -}}
  {{- $_ := set $spec.walStorage "size" $values.postgresql.walStorage -}}
  {{- with $values.postgresql.storageClass -}}
    {{- $_ := set $spec.storage "storageClass" . -}}
    {{- $_ := set $spec.walStorage "storageClass" . -}}
  {{- end -}}
{{- else if eq $object.kind "ObjectStore" -}}
  {{- $_ := set $spec "retentionPolicy" $values.backups.retention -}}
  {{- $_ := set $spec.configuration "destinationPath" $values.backups.destinationPath -}}
  {{- $_ := set $spec.configuration "endpointURL" $values.backups.endpointURL -}}
{{- else if eq $object.kind "ScheduledBackup" -}}
  {{- $_ := set $spec "schedule" $values.backups.schedule -}}
{{- else if eq $object.kind "PersistentVolumeClaim" -}}
  {{- $_ := set $spec.resources.requests "storage" $values.backups.volume.size -}}
  {{- with $values.backups.volume.storageClass -}}{{- $_ := set $spec "storageClassName" . -}}{{- end -}}
{{- else if and (eq $object.kind "NetworkPolicy") (eq $name "to-collector") -}}
  {{- range $spec.egress -}}
    {{- range .to -}}
      {{- $_ := set .namespaceSelector.matchLabels "kubernetes.io/metadata.name" $values.traces.namespace -}}
    {{- end -}}
    {{- range .ports -}}{{- $_ := set . "port" (splitList ":" $values.traces.endpoint | last | int) -}}{{- end -}}
  {{- end -}}
{{- else if eq $object.kind "NetworkPolicy" -}}
  {{- /* The addresses for documentation stand for servers outside. */ -}}
  {{- range $spec.egress -}}
    {{- range .to -}}
      {{- if hasKey . "ipBlock" -}}
        {{- $cidr := .ipBlock.cidr | replace "192.0.2.20/32" $values.rabbitmq.cidr -}}
        {{- $_ := set .ipBlock "cidr" ($cidr | replace "192.0.2.10/32" $values.postgresql.cidr) -}}
      {{- end -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- include "xinhuo.place" (dict "root" .root "pod" (dig "template" "spec" (dict) $spec)) -}}
{{- include "xinhuo.place" (dict "root" .root "pod" (dig "jobTemplate" "spec" "template" "spec" (dict) $spec)) -}}
{{- /* What holds data outlives the release. */ -}}
{{- if has $object.kind (list "Namespace" "RabbitmqCluster" "Cluster" "ObjectStore" "Vhost" "PersistentVolumeClaim") -}}
  {{- $kept := dict "helm.sh/resource-policy" "keep" -}}
  {{- $_ := set $object.metadata "annotations" (mergeOverwrite $kept ($object.metadata.annotations | default dict)) -}}
{{- end -}}
{{- with index $values.overrides (printf "%s/%s" $object.kind $name) -}}
  {{- $object = mergeOverwrite $object (deepCopy .) -}}
{{- end -}}
---
{{ toYaml $object }}
{{- end -}}

{{/* Gives containers of our image the image and the settings of the values; dict "root" $ "pod" SPEC. */}}
{{- define "xinhuo.place" -}}
{{- $root := .root -}}
{{- range concat (.pod.initContainers | default list) (.pod.containers | default list) -}}
  {{- if eq .image "xinhuo" -}}{{- $_ := set . "image" (include "xinhuo.image" $root) -}}{{- end -}}
  {{- range .envFrom -}}
    {{- if eq (dig "configMapRef" "name" "" .) "xinhuo-settings" -}}
      {{- $_ := set .configMapRef "name" (include "xinhuo.settings.name" $root) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{- define "xinhuo.labels" -}}
app.kubernetes.io/name: xinhuo
app.kubernetes.io/part-of: xinhuo
{{- end -}}

{{- define "xinhuo.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .tag }}:{{ .tag }}{{ else }}@{{ .digest }}{{ end }}
{{- end -}}
{{- end -}}

{{/* The shared settings: those of deploy/base, what the components add, then those of the values. */}}
{{- define "xinhuo.settings" -}}
{{- $settings := dict -}}
{{- $lines := splitList "\n" (.Files.Get "files/base/common/settings.env") -}}
{{- range $name, $on := .Values.components -}}
  {{- if $on -}}
    {{- $component := fromYaml ($.Files.Get (printf "files/components/%s/kustomization.yaml" $name)) -}}
    {{- range $component.configMapGenerator -}}
      {{- if eq .name "xinhuo-settings" -}}{{- $lines = concat $lines .literals -}}{{- end -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- range $lines -}}
  {{- if and (contains "=" .) (not (hasPrefix "#" .)) -}}
    {{- $parts := splitn "=" 2 . -}}
    {{- $_ := set $settings $parts._0 $parts._1 -}}
  {{- end -}}
{{- end -}}
{{- if .Values.components.traces -}}
  {{- $_ := set $settings "OTEL_EXPORTER_OTLP_ENDPOINT" .Values.traces.endpoint -}}
{{- end -}}
{{- range $name, $value := .Values.settings -}}{{- $_ := set $settings $name (toString $value) -}}{{- end -}}
{{- toYaml $settings -}}
{{- end -}}

{{/* Its name ends with a hash of the content, as kustomize does: other settings, other pods. */}}
{{- define "xinhuo.settings.name" -}}
xinhuo-settings-{{ include "xinhuo.settings" . | sha256sum | trunc 10 }}
{{- end -}}
