{{- define "gvList" -}}
# API reference

Written by `make docs` from the Go types. `kubectl explain agent.spec` says the same. What the fields are for, in words:
[Agent](../agent.md), [CloudProject](../cloudproject.md).
{{ range . }}{{ template "gvDetails" . }}{{ end -}}
{{- end -}}
