{{/* The command line of the operator. Each flag of the binary has a value; a test compares the two. */}}
{{- define "operator.args" -}}
- --leader-elect={{ .Values.leaderElection.enabled }}
- --leader-election-namespace={{ include "operator.leaseNamespace" . }}
- --leader-election-lease-duration={{ .Values.leaderElection.leaseDuration }}
- --leader-election-renew-deadline={{ .Values.leaderElection.renewDeadline }}
- --leader-election-retry-period={{ .Values.leaderElection.retryPeriod }}
- --metrics-bind-address={{ if .Values.metrics.enabled }}:{{ int .Values.metrics.port }}{{ else }}0{{ end }}
- --health-probe-bind-address=:{{ int .Values.probes.port }}
- --allowed-hosts={{ join "," .Values.allowedHosts }}
- --agent-metrics={{ .Values.metrics.perAgent }}
- --agent-sets={{ .Values.agentSets.enabled }}
- --concurrency={{ int .Values.concurrency }}
- --zap-log-level={{ .Values.log.level }}
- --zap-encoder={{ .Values.log.encoder }}
- --zap-stacktrace-level={{ .Values.log.stacktraceLevel }}
- --zap-time-encoding={{ .Values.log.timeEncoding }}
{{- if .Values.log.development }}
- --zap-devel
{{- end }}
{{- if .Values.allowInsecureHTTP }}
- --allow-insecure-http
{{- end }}
{{- if .Values.readOnly }}
- --read-only
{{- end }}
{{- with .Values.defaultProject }}
- --default-project={{ . }}
{{- end }}
{{- with .Values.clusterID }}
- {{ printf "--cluster-id=%s" . | quote }}
{{- end }}
{{- with .Values.watchNamespaces }}
- --watch-namespaces={{ join "," . }}
{{- end }}
{{- with .Values.shard }}
- {{ printf "--shard=%s" . | quote }}
{{- end }}
{{- with include "operator.certPath" . }}
- --metrics-cert-path={{ . }}
{{- end }}
{{- with .Values.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end }}
