{{- define "gvDetails" }}
## {{ .GroupVersionString }}

Kinds:{{ range $i, $kind := .SortedKinds }}{{ if $i }},{{ end }} {{ $.TypeForKind $kind | markdownRenderTypeLink }}{{ end }}.
{{ range .SortedTypes }}{{ template "type" . }}{{ end -}}
{{- end -}}
