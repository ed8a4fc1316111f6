{{- define "agents.labels" -}}
{{- $own := dict
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/name" .Chart.Name
  "app.kubernetes.io/instance" .Release.Name
  "app.kubernetes.io/managed-by" .Release.Service -}}
{{ merge $own (default dict .Values.commonLabels) | toYaml }}
{{- end }}

{{/* The metadata of an object, from a list of the chart's context, its name and its values. */}}
{{- define "agents.metadata" -}}
{{- $root := index . 0 -}}
{{- $own := index . 2 -}}
name: {{ index . 1 | quote }}
namespace: {{ $root.Release.Namespace | quote }}
labels:
  {{- merge (include "agents.labels" $root | fromYaml) (default dict $own.labels) | toYaml | nindent 2 }}
{{- with merge dict (default dict $own.annotations) (default dict $root.Values.commonAnnotations) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
