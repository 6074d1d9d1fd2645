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
{{- default (ternary $own "default" .Values.serviceAccount.create) .Values.serviceAccount.name }}
{{- end }}

{{/* The digest decides where both are given; the tag is for people then. */}}
{{- define "metronome-salesforce-operator.image" -}}
{{- $image := printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- with .Values.image.digest }}{{ $image = printf "%s@%s" $image . }}{{ end }}
{{- $image }}
{{- end }}

{{/* Environment of every process that calls a vendor: the operator, and doctor in `helm test`. */}}
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
{{- if or .Values.proxy.https .Values.proxy.noProxy }}
# The kubelet puts the API server's address in: the proxy must not be asked for it.
- name: NO_PROXY
  value: {{ concat (list "$(KUBERNETES_SERVICE_HOST)" "localhost" "127.0.0.1" ".svc" ".cluster.local") .Values.proxy.noProxy | join "," | quote }}
{{- end }}
{{- if .Values.caBundle.configMapName }}
- name: SSL_CERT_FILE
  value: /etc/metronome-salesforce/ca/{{ .Values.caBundle.key }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
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
