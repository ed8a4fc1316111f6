{{- define "rules" -}}
{{- range .Validation }}{{ if not (hasPrefix "Optional:" .) }}{{ if not (hasPrefix "Required:" .) }}<br />{{ markdownRenderFieldDoc . }}{{ end }}{{ end }}{{ end -}}
{{- if not .Type.Members }}{{ range index .Markers "kubebuilder:validation:XValidation" }}<br />Rule: {{ markdownRenderFieldDoc .Message }}{{ end }}{{ end -}}
{{- end -}}
{{- define "type" -}}
{{- if markdownShouldRenderType . }}
### {{ .Name }}

{{ .Doc | replace "\n" " " }}
{{- if .References }} In{{ range $i, $type := .SortedReferences }}{{ if $i }},{{ end }} {{ markdownRenderTypeLink $type }}{{ end }}.{{ end }}
{{- with index .Markers "kubebuilder:validation:XValidation" }}
{{ end }}
{{- range index .Markers "kubebuilder:validation:XValidation" }}
- {{ if .FieldPath }}`{{ .FieldPath | trimPrefix "." }}`: {{ end }}{{ .Message }}
{{- end }}
{{ if .Members }}
| field | type | what it is |
| --- | --- | --- |
{{ if .GVK -}}
| `apiVersion` | string | `{{ .GVK.Group }}/{{ .GVK.Version }}` |
| `kind` | string | `{{ .GVK.Kind }}` |
{{ end -}}
{{ range .Members -}}
| `{{ .Name }}` | {{ if contains "#duration-v1-meta" (markdownRenderType .Type) }}string{{ else }}{{ markdownRenderType .Type }}{{ end }} | {{ if .Doc }}{{ .Doc | replace "\n" " " | markdownRenderFieldDoc }}{{ else }}Of every object.{{ end }}{{ if .Default }}<br />Default: `{{ .Default }}`{{ end }}{{ template "rules" . }} |
{{ end -}}
{{- end -}}
{{- if .EnumValues }}
| value | what it says |
| --- | --- |
{{ range .EnumValues -}}
| `{{ .Name }}` | {{ .Doc | trim | replace "\n" " " | markdownRenderFieldDoc }} |
{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
