{{- define "operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* At most 44 characters, so that names derived from it fit a label.  Quoted where it is a whole value: it may be a number. */}}
{{- define "operator.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 44 | trimSuffix "-" }}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{ ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 44 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- define "operator.selector" -}}
app.kubernetes.io/name: {{ include "operator.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
control-plane: controller-manager
{{- end }}

{{/* Selectors use some of these labels, so users cannot override them. */}}
{{- define "operator.ownLabels" -}}
{{- dict
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/name" (include "operator.name" .)
  "app.kubernetes.io/instance" .Release.Name
  "app.kubernetes.io/version" .Chart.AppVersion
  "app.kubernetes.io/managed-by" .Release.Service | toYaml -}}
{{- end }}

{{- define "operator.labels" -}}
{{ merge (include "operator.ownLabels" . | fromYaml) (default dict .Values.commonLabels) | toYaml }}
{{- end }}

{{- define "operator.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "operator.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ required "serviceAccount.name: name the ServiceAccount that exists, or set serviceAccount.create" .Values.serviceAccount.name }}
{{- end -}}
{{- end }}

{{- define "operator.subject" -}}
- kind: ServiceAccount
  name: {{ include "operator.serviceAccount" . | quote }}
  namespace: {{ .Release.Namespace | quote }}
{{- end }}

{{/* The operator's rules: without those that AgentSets need where these are off, and without nodes in a Role, which knows
none. */}}
{{- define "operator.rules" -}}
{{- $off := not .Values.agentSets.enabled -}}
{{- $rules := list -}}
{{- range (.Files.Get "files/role.yaml" | fromYaml).rules -}}
{{- $resources := .resources -}}
{{- $verbs := .verbs -}}
{{- if or $off $.Values.watchNamespaces -}}
{{- $resources = without $resources "nodes" -}}
{{- end -}}
{{- if and $off (has "agents" $resources) -}}
{{- $verbs = without $verbs "create" "delete" -}}
{{- end -}}
{{- if and $resources (not (and $off (has "apps" .apiGroups))) -}}
{{- $rules = append $rules (dict "apiGroups" .apiGroups "resources" $resources "verbs" $verbs) -}}
{{- end -}}
{{- end -}}
{{ dict "rules" $rules | toYaml }}
{{- end }}

{{/* Labels and annotations of an object: (dict "root" $ "labels" … "annotations" …). The operator's own labels stay. */}}
{{- define "operator.meta" -}}
labels:
  {{- merge (include "operator.ownLabels" .root | fromYaml) (default dict .labels) (default dict .root.Values.commonLabels) | toYaml | nindent 2 }}
{{- with merge (dict) (default dict .annotations) (default dict .root.Values.commonAnnotations) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The image. A released chart names its image by digest, unless the values name another one. */}}
{{- define "operator.image" -}}
{{- $released := index .Chart.Annotations "cloud.calyptia.com/image-digest" -}}
{{- with .Values.image -}}
{{- $digest := default (ternary "" $released (or .repository .tag | empty | not)) .digest -}}
{{- if not (or $digest .tag) -}}
{{- fail "image.tag: this chart was not released, and no image belongs to it: set image.repository and image.tag (or image.digest) to the image that you built and pushed with make push" -}}
{{- end -}}
{{- $default := printf "%s/%s/%s" $.Values.imageRegistry $.Values.imageNamespace .name -}}
{{ default $default .repository }}{{ if $digest }}@{{ $digest }}{{ else }}:{{ .tag }}{{ end }}
{{- end -}}
{{- end }}

{{- define "operator.pullSecrets" -}}
{{- $global := default (list) (default dict .Values.global).imagePullSecrets -}}
{{ concat .Values.imagePullSecrets $global | uniq | toYaml }}
{{- end }}

{{/* The environment of the container: GOMEMLIMIT, the proxies, and extraEnv. */}}
{{- define "operator.env" -}}
{{- $env := list -}}
{{- with include "operator.goMemory" . -}}
{{- $env = append $env (dict "name" "GOMEMLIMIT" "value" .) -}}
{{- end -}}
{{- with .Values.httpProxy -}}
{{- $env = append $env (dict "name" "HTTP_PROXY" "value" .) -}}
{{- end -}}
{{- with .Values.httpsProxy -}}
{{- $env = append $env (dict "name" "HTTPS_PROXY" "value" .) -}}
{{- end -}}
{{- if or .Values.httpProxy .Values.httpsProxy -}}
{{- $none := printf "$(KUBERNETES_SERVICE_HOST),%s" .Values.noProxy | trimSuffix "," -}}
{{- $env = append $env (dict "name" "NO_PROXY" "value" $none) -}}
{{- end -}}
{{ concat $env .Values.extraEnv | toYaml }}
{{- end }}

{{/* The directory of the metrics certificate in the container. */}}
{{- define "operator.certPath" -}}
{{- if .Values.metrics.certificate.secretName -}}
/etc/calyptia-agent-operator/metrics-certificate
{{- else -}}
{{ .Values.metrics.certPath }}
{{- end -}}
{{- end }}

{{/* The ServiceAccount of Prometheus for the metrics; none if the values set another authorization or no RBAC. */}}
{{- define "operator.scraper" -}}
{{- with .Values.metrics -}}
{{- if and .enabled .rbac.create .serviceMonitor.enabled (not .serviceMonitor.authorization) -}}
{{ include "operator.fullname" $ }}-metrics-reader
{{- end -}}
{{- end -}}
{{- end }}

{{/* How Prometheus verifies the metrics certificate. */}}
{{- define "operator.tls" -}}
{{- $name := printf "%s-metrics.%s.svc" (include "operator.fullname" .) .Release.Namespace -}}
{{- $ca := dict "secret" (dict "name" .Values.metrics.certificate.secretName "key" "ca.crt") -}}
{{ default (dict "ca" $ca "serverName" $name) .Values.metrics.serviceMonitor.tlsConfig | toYaml }}
{{- end }}

{{/* 90% of the memory limit, in bytes, because the kernel counts more than Go does. None if extraEnv sets it. */}}
{{- define "operator.goMemory" -}}
{{- $units := dict "" 1 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- $own := false -}}
{{- range .Values.extraEnv }}{{ if eq .name "GOMEMLIMIT" }}{{ $own = true }}{{ end }}{{ end -}}
{{- $limit := dig "limits" "memory" "" .Values.resources | toString -}}
{{- if and $limit (not $own) -}}
{{- $unit := regexFind "[A-Za-z]*$" $limit -}}
{{- if not (and (hasKey $units $unit) (regexMatch "^[0-9.]+(e[+]?[0-9]+)?$" (trimSuffix $unit $limit))) -}}
{{- fail (printf "resources.limits.memory: %s is not a quantity such as 512Mi" $limit) -}}
{{- end -}}
{{ mulf (trimSuffix $unit $limit | float64) (get $units $unit) 0.9 | int64 }}
{{- end -}}
{{- end }}

{{- define "operator.leaseNamespace" -}}
{{ default .Release.Namespace .Values.leaderElection.namespace }}
{{- end }}

{{- define "operator.lease" -}}
{{ with .Values.shard }}{{ sha256sum . | trunc 16 }}.{{ end }}calyptia-agent-operator.cloud.calyptia.com
{{- end }}

{{/* The image is built for Linux only. */}}
{{- define "operator.nodeSelector" -}}
{{ merge (dict) (default dict .Values.nodeSelector) (dict "kubernetes.io/os" "linux") | toYaml }}
{{- end }}

{{/* A time of the values in milliseconds. */}}
{{- define "operator.milliseconds" -}}
{{- $units := dict "ms" 1 "s" 1000 "m" 60000 -}}
{{ mul (regexFind "^[0-9]+" .) (get $units (regexFind "[a-z]+$" .)) }}
{{- end }}

{{/* Values that the operator would refuse at its start. */}}
{{- define "operator.validateElection" -}}
{{- with .Values.leaderElection -}}
{{- $lease := include "operator.milliseconds" .leaseDuration | int64 -}}
{{- $deadline := include "operator.milliseconds" .renewDeadline | int64 -}}
{{- $retry := include "operator.milliseconds" .retryPeriod | int64 -}}
{{- if gt $lease 3600000 -}}
{{- fail (printf "leaderElection.leaseDuration: %s must be at most 1h" .leaseDuration) -}}
{{- end -}}
{{- if ge $deadline $lease -}}
{{- fail (printf "leaderElection.renewDeadline: %s must be less than leaseDuration, which is %s" .renewDeadline .leaseDuration) -}}
{{- end -}}
{{- if ge (mul $retry 12) (mul $deadline 10) -}}
{{- fail (printf "leaderElection.retryPeriod: 1.2 times %s must be less than renewDeadline, which is %s" .retryPeriod .renewDeadline) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "operator.enabled" -}}
{{- if kindIs "bool" .Values.enabled -}}
{{- if not .Values.enabled -}}
{{- fail "enabled: only the condition of a parent chart reads it, and there is no parent chart: remove it, or do not install this chart" -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Values that were renamed. With helm upgrade --reuse-values they come from the old chart. */}}
{{- define "operator.renamed" -}}
{{- $hint := "--reuse-values keeps the defaults of the old chart, so upgrade with --reset-then-reuse-values" -}}
{{- if hasKey .Values "replicas" -}}
{{- fail (printf "replicas: it is called replicaCount now: rename it (%s)" $hint) -}}
{{- end -}}
{{- if hasKey .Values.crds "install" -}}
{{- fail (printf "crds.install: it is called crds.enabled now: rename it (%s)" $hint) -}}
{{- end -}}
{{- end }}

{{- define "operator.validateMonitor" -}}
{{- with .Values.metrics -}}
{{- if and .certPath .certificate.secretName -}}
{{- fail "metrics.certPath: metrics.certificate.secretName mounts the certificate, too: set only one of the two" -}}
{{- end -}}
{{- if and .enabled .serviceMonitor.enabled -}}
{{- if not (or .serviceMonitor.tlsConfig .certificate.secretName) -}}
{{- fail "metrics.serviceMonitor: the operator signs its own certificate, which Prometheus cannot check: set metrics.certificate.secretName to a Secret with tls.crt, tls.key and ca.crt, or metrics.serviceMonitor.tlsConfig.insecureSkipVerify to true" -}}
{{- end -}}
{{- if and (not .rbac.create) (not .serviceMonitor.authorization) -}}
{{- fail "metrics.serviceMonitor.authorization: without metrics.rbac.create there is no account for Prometheus: name the Secret with its token" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "operator.testHook" -}}
"helm.sh/hook": test
"helm.sh/hook-delete-policy": before-hook-creation,hook-succeeded
{{- end }}

{{/* Checks of more than one value; the schema checks single values. */}}
{{- define "operator.validate" -}}
{{- include "operator.enabled" . -}}
{{- include "operator.renamed" . -}}
{{- include "operator.validateElection" . -}}
{{- include "operator.validateMonitor" . -}}
{{- if and .Values.watchNamespaces (not .Values.clusterID) -}}
{{- fail "watchNamespaces: needs clusterID, because the UID of kube-system cannot be read without a ClusterRole: set clusterID to any text that no other cluster has" -}}
{{- end -}}
{{- if and .Values.watchNamespaces .Values.defaultProject -}}
{{- $namespace := first (splitList "/" .Values.defaultProject) -}}
{{- if not (has $namespace .Values.watchNamespaces) -}}
{{- fail (printf "defaultProject: its namespace %s is not watched: add it to watchNamespaces" $namespace) -}}
{{- end -}}
{{- end -}}
{{- if and (gt (int .Values.replicaCount) 1) (not .Values.leaderElection.enabled) -}}
{{- fail "replicaCount: more than one needs leaderElection.enabled, or each would register every Agent: set it, or replicaCount to 1" -}}
{{- end -}}
{{- range list "serviceMonitor" "rules" "dashboards" -}}
{{- if and (get $.Values.metrics .).enabled (not $.Values.metrics.enabled) -}}
{{- fail (printf "metrics.%s.enabled: needs metrics.enabled" .) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.metrics.enabled (not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" (include "operator.fullname" .))) -}}
{{- fail (printf "fullnameOverride: no Service can be named after %s: set it to letters, digits and dashes that begin with a letter" (include "operator.fullname" .)) -}}
{{- end -}}
{{- end }}
