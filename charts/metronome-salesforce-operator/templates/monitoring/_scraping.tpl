{{/* What ServiceMonitor and PodMonitor say alike of how /metrics is scraped; given one of the two. */}}
{{- define "metronome-salesforce-operator.scraping" -}}
path: /metrics
interval: {{ .interval }}
scrapeTimeout: {{ .scrapeTimeout }}
# The labels namespace and name of a series are those of its MetronomeSync, not of the pod.
honorLabels: true
relabelings:
  # The job by which the alerts find the operator, whatever its resources are called.
  - targetLabel: job
    replacement: metronome-salesforce-operator
  {{- with .relabelings }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
