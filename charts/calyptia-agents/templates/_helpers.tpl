{{- define "agents.labels" -}}
{{- $own := dict
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/name" .Chart.Name
  "app.kubernetes.io/instance" .Release.Name
  "app.kubernetes.io/managed-by" .Release.Service -}}
{{ merge $own (default dict .Values.commonLabels) | toYaml }}
{{- end }}

{{/* The metadata of an object. Takes a list of the context of the chart, its name and its values. */}}
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

{{/* Refuses numbers that Helm has rounded: it reads numbers as floating point. Takes a list of the path and the value. */}}
{{- define "agents.exact" -}}
{{- $path := index . 0 -}}
{{- $value := index . 1 -}}
{{- if kindIs "map" $value -}}
{{- range $key, $inner := $value }}{{ include "agents.exact" (list (printf "%s.%s" $path $key) $inner) }}{{ end -}}
{{- else if kindIs "slice" $value -}}
{{- range $i, $inner := $value }}{{ include "agents.exact" (list (printf "%s[%d]" $path $i) $inner) }}{{ end -}}
{{- else if has (kindOf $value) (list "float64" "int64" "int") -}}
{{- if or (gt (float64 $value) 9007199254740991.0) (lt (float64 $value) -9007199254740991.0) -}}
{{- fail (printf "%s is a number with more digits than Helm keeps: make it a string, in quotes" $path) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "agents.enabled" -}}
{{- if kindIs "bool" .Values.enabled -}}
{{- if not .Values.enabled -}}
{{- fail "enabled: only the condition of a parent chart reads it, and there is no parent chart: remove it, or do not install this chart" -}}
{{- end -}}
{{- end -}}
{{- end }}
