{{/* The Deployment of a service and role; see processes.yaml for what it is given. */}}
{{- define "xinhuo.deployment" -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .name }}
  labels:
    {{- .labels | nindent 4 }}
spec:
  {{- if not .scaled }}
  replicas: {{ .process.replicas }}
  {{- end }}
  revisionHistoryLimit: 5
  strategy:
    type: RollingUpdate
    rollingUpdate: {maxUnavailable: 0, maxSurge: 1}
  selector:
    matchLabels:
      {{- .selected | nindent 6 }}
  template:
    metadata:
      labels:
        {{- .labels | nindent 8 }}
    spec:
      serviceAccountName: {{ .service }}
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: 60
      securityContext:
        runAsNonRoot: true
        runAsUser: 10001
        runAsGroup: 10001
        fsGroup: 10001
        seccompProfile: {type: RuntimeDefault}
      topologySpreadConstraints:
        {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
        - maxSkew: 1
          topologyKey: {{ . }}
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- $.selected | nindent 14 }}
        {{- end }}
      containers:
        - name: xinhuo
          image: {{ include "xinhuo.image" .root }}
          args: [serve, {{ .service }}, --role, {{ .role }}, --port, "8080"]
          ports:
            - {name: http, containerPort: 8080}
          envFrom:
            - configMapRef: {name: {{ include "xinhuo.settings.name" .root }}}
          env:
            - {name: DATABASE_URL_FILE, value: /run/secrets/xinhuo/database-url}
            {{- if eq .role "worker" }}
            - {name: AMQP_URI_FILE, value: /run/secrets/xinhuo/amqp-uri}
            {{- end }}
            {{- if .asks }}
            - {name: XINHUO_SERVICE_KEY_FILE, value: /run/secrets/xinhuo/service-key}
            {{- end }}
            {{- if .signsIn }}
            - {name: XINHUO_OIDC_ISSUER, value: {{ .root.Values.oidc.issuer | quote }}}
            - {name: XINHUO_OIDC_CLIENT_ID, value: {{ .root.Values.oidc.clientId | quote }}}
            - {name: XINHUO_OIDC_REDIRECT_URL, value: {{ .root.Values.oidc.redirectUrl | quote }}}
            - {name: XINHUO_OIDC_CLIENT_SECRET_FILE, value: /run/secrets/xinhuo/oidc-client-secret}
            {{- end }}
            {{- range $variable, $value := .process.env }}
            - {name: {{ $variable }}, value: {{ toString $value | quote }}}
            {{- end }}
          resources:
            {{- toYaml .process.resources | nindent 12 }}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
          startupProbe:
            httpGet: {path: /healthz, port: http}
            periodSeconds: 2
            timeoutSeconds: 2
            failureThreshold: 60
          livenessProbe:
            httpGet: {path: /healthz, port: http}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 3
          readinessProbe:
            httpGet: {path: /readyz, port: http}
            periodSeconds: 2
            timeoutSeconds: 5
            failureThreshold: 1
          volumeMounts:
            - {name: secrets, mountPath: /run/secrets/xinhuo, readOnly: true}
            - {name: tmp, mountPath: /tmp}
      volumes:
        - name: tmp
          emptyDir: {sizeLimit: 256Mi}
        - name: secrets
          projected:
            defaultMode: 288 # 0440: readable by the group, which fsGroup makes ours
            sources:
              - secret:
                  name: {{ .service }}-secrets
                  items:
                    - {key: database-url, path: database-url}
                    {{- if eq .role "worker" }}
                    - {key: amqp-uri, path: amqp-uri}
                    {{- end }}
                    {{- if .asks }}
                    - {key: service-key, path: service-key}
                    {{- end }}
                    {{- if .signsIn }}
                    - {key: oidc-client-secret, path: oidc-client-secret}
                    {{- end }}
              - secret:
                  name: xinhuo-master-key
                  items:
                    - {key: master.key, path: master.key}
{{- end -}}

{{- define "xinhuo.service" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ ternary .name .service (eq .role "worker") }}
  labels:
    {{- .labels | nindent 4 }}
spec:
  {{- if eq .role "worker" }}
  clusterIP: None
  {{- end }}
  ports:
    - {name: http, port: {{ ternary 8080 80 (eq .role "worker") }}, targetPort: http}
  selector:
    {{- .selected | nindent 4 }}
{{- end -}}

{{- define "xinhuo.budget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .name }}
  labels:
    {{- .labels | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      {{- .selected | nindent 6 }}
{{- end -}}
