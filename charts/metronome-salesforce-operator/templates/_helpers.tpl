{{/* The chart's name, or what replaces it. */}}
{{- define "metronome-salesforce-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The name of the release's resources; 52 characters leave room for endings. */}}
{{- define "metronome-salesforce-operator.fullname" -}}
{{- $name := include "metronome-salesforce-operator.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* What the operator's pod is found by; it can never be changed. */}}
{{- define "metronome-salesforce-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "metronome-salesforce-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{/* Labels of everything but pods. */}}
{{- define "metronome-salesforce-operator.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: {{ include "metronome-salesforce-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "metronome-salesforce-operator.serviceAccountName" -}}
{{- $own := include "metronome-salesforce-operator.fullname" . }}
{{- if and .Values.rbac.create (not .Values.serviceAccount.create) (not .Values.serviceAccount.name) }}
{{- fail "serviceAccount.name must name the account that serviceAccount.create=false leaves to you: without one, the rights would go to 'default', and so to every pod of the namespace that names no account" }}
{{- end }}
{{- default (ternary $own "default" .Values.serviceAccount.create) .Values.serviceAccount.name }}
{{- end }}

{{/* The digest decides where both are given; the tag is for people then. */}}
{{- define "metronome-salesforce-operator.image" -}}
{{- $image := printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- with .Values.image.digest }}{{ $image = printf "%s@%s" $image . }}{{ end }}
{{- $image }}
{{- end }}

{{/*
Environment of every process that calls a vendor: the operator, and doctor in `helm test`. Of a name
that stands there twice Helm 4 makes an error of the API server's, and Helm 3 loses one.
*/}}
{{- define "metronome-salesforce-operator.environment" -}}
{{- $own := include "metronome-salesforce-operator.env" . }}
{{- $names := list "POD_NAME" }}
{{- $tracing := include "metronome-salesforce-operator.tracingEnv" . }}
{{- range concat (fromYamlArray $own) (fromYamlArray $tracing) }}{{ $names = append $names .name }}{{ end }}
{{- range .Values.extraEnv }}
{{- if has .name $names }}
{{- fail (printf "extraEnv sets %s, which is set already: use the chart's value for it (proxy.https, proxy.noProxy, hosts.allowed, hosts.defaults, caBundle, tracing), and each name once" .name) }}
{{- end }}
{{- $names = append $names .name }}
{{- end }}
{{- $own }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What the chart itself sets of it. */}}
{{- define "metronome-salesforce-operator.env" -}}
# kopf asks for the name of its user, and a numeric user has none.
- name: LOGNAME
  value: operator
{{- with .Values.hosts.allowed }}
- name: METRONOME_SALESFORCE_ALLOWED_HOSTS
  value: {{ join "," . | quote }}
{{- end }}
{{- if not .Values.hosts.defaults }}
- name: METRONOME_SALESFORCE_DEFAULT_HOSTS
  value: "false"
{{- end }}
{{- with .Values.proxy.https }}
- name: HTTPS_PROXY
  value: {{ . | quote }}
{{- end }}
# The kubelet puts the API server's address in. Wherever a proxy comes from, it is not to be asked
# for what is in the cluster.
- name: NO_PROXY
  value: {{ concat (list "$(KUBERNETES_SERVICE_HOST)" "localhost" "127.0.0.1" ".svc" ".cluster.local") .Values.proxy.noProxy | join "," | quote }}
{{- if .Values.caBundle.configMapName }}
- name: SSL_CERT_FILE
  value: /etc/metronome-salesforce/ca/{{ .Values.caBundle.key }}
{{- end }}
{{- end }}

{{/* Of the operator alone: the other pods of the chart make no traces. */}}
{{- define "metronome-salesforce-operator.tracingEnv" -}}
{{- with .Values.tracing }}
{{- if .endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ .endpoint | quote }}
{{- if lt (float64 .sampleRatio) 1.0 }}
- name: OTEL_TRACES_SAMPLER
  value: parentbased_traceidratio
- name: OTEL_TRACES_SAMPLER_ARG
  value: {{ .sampleRatio | quote }}
{{- end }}
{{- if .headersSecret.name }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom:
    secretKeyRef:
      name: {{ .headersSecret.name }}
      key: {{ .headersSecret.key }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "metronome-salesforce-operator.volumeMounts" -}}
- name: tmp
  mountPath: /tmp
{{- if .Values.caBundle.configMapName }}
- name: ca
  mountPath: /etc/metronome-salesforce/ca
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "metronome-salesforce-operator.volumes" -}}
# A cycle's plan is a temporary file here.
- name: tmp
  emptyDir:
    sizeLimit: {{ .Values.tmp.sizeLimit }}
    {{- with .Values.tmp.medium }}
    medium: {{ . }}
    {{- end }}
{{- with .Values.caBundle }}
{{- if .configMapName }}
- name: ca
  configMap:
    name: {{ .configMapName }}
    items:
      - key: {{ .key }}
        path: {{ .key }}
{{- end }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/*
Helm looks every kind up before it installs anything, so a release cannot bring a kind and a resource
of that kind at once. Not empty where this is the case: the cluster is there (only then does Helm
know kinds, and not just groups), it does not serve the kind, and this release installs it.
*/}}
{{- define "metronome-salesforce-operator.syncsMustWait" -}}
{{- $apis := .Capabilities.APIVersions }}
{{- if and .Values.syncs .Values.crds.enabled ($apis.Has "apps/v1/Deployment") (not ($apis.Has "metronome-salesforce.dev/v1alpha1/MetronomeSync")) }}true{{ end }}
{{- end }}

{{/* What the pods of hooks have in common with the operator's: where they may run, and as whom. */}}
{{- define "metronome-salesforce-operator.helperPod" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "metronome-salesforce-operator.helperContainer" -}}
image: {{ include "metronome-salesforce-operator.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
env:
  {{- include "metronome-salesforce-operator.environment" . | nindent 2 }}
{{- with .Values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  {{- include "metronome-salesforce-operator.volumeMounts" . | nindent 2 }}
{{- end }}
