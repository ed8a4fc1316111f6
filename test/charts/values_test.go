/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package charts_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/yaml"
)

// effect is the effect of a value: set to this, with the other values that it needs, the rendering gains a text or loses
// one.
type effect struct {
	with       values
	set        any
	want, gone string
}

var (
	monitored    = values{"metrics": values{"certificate": values{"secretName": "metrics"}, "serviceMonitor": values{"enabled": true}}}
	unchecked    = values{"metrics": values{"serviceMonitor": values{"tlsConfig": values{"insecureSkipVerify": true}}}}
	proxied      = values{"httpsProxy": "http://proxy.example:3128"}
	ruled        = values{"metrics": values{"rules": values{"enabled": true}}}
	dashboarded  = values{"metrics": values{"dashboards": values{"enabled": true}}}
	closed       = values{"networkPolicy": values{"enabled": true}}
	someDigest   = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	someAffinity = values{"podAntiAffinity": values{"preferredDuringSchedulingIgnoredDuringExecution": []values{}}}
)

// effects has a row for each leaf of values.yaml.
var effects = map[string]effect{
	"nameOverride":               {set: "other", want: "app.kubernetes.io/name: other"},
	"fullnameOverride":           {set: "other", want: `name: "other"`},
	"commonLabels":               {set: values{"team": "logging"}, want: "team: logging"},
	"commonAnnotations":          {set: values{"team": "logging"}, want: "  annotations:\n    team: logging\n"},
	"global.imagePullSecrets":    {set: []values{{"name": "registry"}}, want: "- name: registry"},
	"replicaCount":               {set: 5, want: "replicas: 5"},
	"imageRegistry":              {set: "mirror.example", want: "image: \"mirror.example/calyptia-agent-operator/calyptia-agent-operator:"},
	"imageNamespace":             {set: "a/b", want: "image: \"ghcr.io/a/b/calyptia-agent-operator:"},
	"image.name":                 {set: "op", want: "calyptia-agent-operator/op:"},
	"image.repository":           {set: "registry.example/op", want: "image: \"registry.example/op:"},
	"image.tag":                  {set: "v9", want: "operator:v9\""},
	"image.digest":               {set: someDigest, want: "operator@" + someDigest},
	"image.pullPolicy":           {set: "Always", want: "imagePullPolicy: Always"},
	"imagePullSecrets":           {set: []values{{"name": "registry"}}, want: "- name: registry"},
	"crds.enabled":               {set: false, gone: "kind: CustomResourceDefinition"},
	"crds.keep":                  {set: false, gone: "helm.sh/resource-policy: keep"},
	"allowedHosts":               {set: []string{"a.example", ".b.example"}, want: "--allowed-hosts=a.example,.b.example\n"},
	"allowInsecureHTTP":          {set: true, want: "- --allow-insecure-http\n"},
	"defaultProject":             {set: "a/b", want: "- --default-project=a/b\n"},
	"clusterID":                  {set: "blue", want: `- "--cluster-id=blue"`},
	"agentSets.enabled":          {set: false, want: "--agent-sets=false\n"},
	"watchNamespaces":            {with: values{"clusterID": "blue"}, set: []string{"tenant-a", "tenant-b"}, want: "--watch-namespaces=tenant-a,tenant-b\n"},
	"readOnly":                   {set: true, want: "- --read-only\n"},
	"concurrency":                {set: 7, want: "- --concurrency=7\n"},
	"shard":                      {set: "shard=a", want: `- "--shard=shard=a"`},
	"extraArgs":                  {set: []string{"--v=1"}, want: "- --v=1\n"},
	"httpProxy":                  {set: "http://proxy.example:3128", want: "- name: HTTP_PROXY\n          value: http://proxy.example:3128\n"},
	"httpsProxy":                 {set: "http://proxy.example:3128", want: "- name: NO_PROXY\n          value: $(KUBERNETES_SERVICE_HOST)\n"},
	"noProxy":                    {with: proxied, set: ".example", want: "value: $(KUBERNETES_SERVICE_HOST),.example\n"},
	"deploymentAnnotations":      {set: values{"a": "b"}, want: "  annotations:\n    a: b\n"},
	"strategy":                   {set: values{"type": "Recreate"}, want: "  strategy:\n    type: Recreate\n"},
	"revisionHistoryLimit":       {set: 3, want: "revisionHistoryLimit: 3\n"},
	"runtimeClassName":           {set: "kata", want: `runtimeClassName: "kata"`},
	"hostAliases":                {set: []values{{"ip": "10.0.0.1", "hostnames": []string{"a.example"}}}, want: "ip: 10.0.0.1\n"},
	"dnsPolicy":                  {set: "Default", want: "dnsPolicy: Default\n"},
	"dnsConfig":                  {set: values{"nameservers": []string{"10.0.0.53"}}, want: "- 10.0.0.53\n"},
	"extraContainers":            {set: []values{{"name": "sidecar", "image": "i"}}, want: "name: sidecar\n"},
	"extraObjects":               {set: []any{values{"kind": "ConfigMap"}, "kind: {{ .Release.Name | quote }}"}, want: `kind: "calyptia-agent-operator"`},
	"podLabels":                  {set: values{"a": "b"}, want: "        a: b\n"},
	"podAnnotations":             {set: values{"a": "b"}, want: "        a: b\n"},
	"priorityClassName":          {set: "high", want: `priorityClassName: "high"`},
	"nodeSelector":               {set: values{"disk": "ssd"}, want: "disk: ssd"},
	"tolerations":                {set: []values{{"operator": "Exists"}}, want: "- operator: Exists"},
	"affinity":                   {set: someAffinity, want: "podAntiAffinity:"},
	"extraEnv":                   {set: []values{{"name": "A", "value": "b"}}, want: "- name: A\n          value: b\n"},
	"extraVolumes":               {set: []values{{"name": "v"}}, want: "- name: v\n"},
	"extraVolumeMounts":          {set: []values{{"name": "v", "mountPath": "/v"}}, want: "- mountPath: /v\n"},
	"serviceAccount.create":      {with: values{"serviceAccount": values{"name": "mine"}}, set: false, gone: "kind: ServiceAccount\nmetadata:\n  name: \"mine\""},
	"serviceAccount.name":        {set: "mine", want: `serviceAccountName: "mine"`},
	"serviceAccount.labels":      {set: values{"a": "b"}, want: "    a: b\n"},
	"serviceAccount.annotations": {set: values{"role": "r"}, want: "  annotations:\n    role: r\n"},
	"rbac.create":                {set: false, gone: "name: calyptia-agent-operator-manager\n"},
	"rbac.aggregate":             {set: false, gone: "aggregate-to-view"},
	"topologySpreadConstraints": {set: []values{{"maxSkew": 3, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}},
		want: "topologyKey: zone"},
	"terminationGracePeriodSeconds": {set: 90, want: "terminationGracePeriodSeconds: 90"},

	"leaderElection.enabled":       {with: values{"replicaCount": 1}, set: false, want: "- --leader-elect=false\n"},
	"leaderElection.namespace":     {set: "leases", want: "- --leader-election-namespace=leases\n"},
	"leaderElection.leaseDuration": {set: "60s", want: "- --leader-election-lease-duration=60s\n"},
	"leaderElection.renewDeadline": {set: "25s", want: "- --leader-election-renew-deadline=25s\n"},
	"leaderElection.retryPeriod":   {set: "500ms", want: "- --leader-election-retry-period=500ms\n"},
	"log.level":                    {set: "debug", want: "- --zap-log-level=debug\n"},
	"log.encoder":                  {set: "console", want: "- --zap-encoder=console\n"},
	"log.stacktraceLevel":          {set: "error", want: "- --zap-stacktrace-level=error\n"},
	"log.timeEncoding":             {set: "epoch", want: "- --zap-time-encoding=epoch\n"},
	"log.development":              {set: true, want: "- --zap-devel\n"},

	"metrics.enabled":                {set: false, want: "- --metrics-bind-address=0\n"},
	"metrics.perAgent":               {set: false, want: "- --agent-metrics=false\n"},
	"metrics.port":                   {set: 9443, want: "- --metrics-bind-address=:9443\n"},
	"metrics.certificate.secretName": {set: "metrics", want: "secretName: metrics\n"},
	"metrics.certPath":               {set: "/certs", want: "- --metrics-cert-path=/certs\n"},
	"metrics.service.annotations":    {set: values{"certificate": "wanted"}, want: "  annotations:\n    certificate: wanted\n"},
	"metrics.rbac.create":            {set: false, gone: "name: calyptia-agent-operator-metrics-auth\n"},
	"metrics.rbac.readers": {set: []values{{"kind": "ServiceAccount", "name": "prometheus", "namespace": "monitoring"}},
		want: "  name: prometheus\n  namespace: monitoring\n"},
	"metrics.serviceMonitor.enabled":       {with: unchecked, set: true, want: "kind: ServiceMonitor\n"},
	"metrics.serviceMonitor.labels":        {with: monitored, set: values{"release": "p"}, want: "release: p\n"},
	"metrics.serviceMonitor.annotations":   {with: monitored, set: values{"a": "b"}, want: "    a: b\n"},
	"metrics.serviceMonitor.interval":      {with: monitored, set: "47s", want: "interval: 47s\n"},
	"metrics.serviceMonitor.scrapeTimeout": {with: monitored, set: "7s", want: "scrapeTimeout: 7s\n"},
	"metrics.serviceMonitor.authorization": {with: monitored, set: values{"credentials": values{"name": "s", "key": "token"}},
		want: "authorization:\n      credentials:\n        key: token\n        name: s\n"},
	"metrics.serviceMonitor.tlsConfig":            {with: monitored, set: values{"serverName": "op"}, want: "serverName: op\n"},
	"metrics.serviceMonitor.relabelings":          {with: monitored, set: []values{{"regex": "r"}}, want: "relabelings:\n      - regex: r\n"},
	"metrics.serviceMonitor.metricRelabelings":    {with: monitored, set: []values{{"regex": "r"}}, want: "metricRelabelings:\n      - regex: r\n"},
	"metrics.rules.enabled":                       {set: true, want: "kind: PrometheusRule\n"},
	"metrics.rules.labels":                        {with: ruled, set: values{"role": "alerts"}, want: "role: alerts\n"},
	"metrics.rules.alertLabels":                   {with: ruled, set: values{"team": "logging"}, want: "        team: logging\n"},
	"metrics.rules.alerts":                        {with: ruled, set: values{"CalyptiaCloudSlow": values{"enabled": false}}, gone: "alert: CalyptiaCloudSlow\n"},
	"metrics.dashboards.enabled":                  {set: true, want: "calyptia-agents.json"},
	"metrics.dashboards.labels.grafana_dashboard": {with: dashboarded, set: "yes", want: `grafana_dashboard: "yes"`},
	"metrics.dashboards.annotations":              {with: dashboarded, set: values{"folder": "F"}, want: "folder: F\n"},

	"probes.port":                          {set: 9081, want: "- --health-probe-bind-address=:9081\n"},
	"probes.liveness.initialDelaySeconds":  {set: 41, want: "initialDelaySeconds: 41\n"},
	"probes.liveness.periodSeconds":        {set: 42, want: "periodSeconds: 42\n"},
	"probes.readiness.initialDelaySeconds": {set: 43, want: "initialDelaySeconds: 43\n"},
	"probes.readiness.periodSeconds":       {set: 44, want: "periodSeconds: 44\n"},

	"podDisruptionBudget.enabled":                    {set: false, gone: "kind: PodDisruptionBudget\n"},
	"podDisruptionBudget.maxUnavailable":             {set: "30%", want: "maxUnavailable: 30%\n"},
	"podDisruptionBudget.minAvailable":               {set: 0, want: "minAvailable: 0\n"},
	"podDisruptionBudget.unhealthyPodEvictionPolicy": {set: "AlwaysAllow", want: "unhealthyPodEvictionPolicy: AlwaysAllow\n"},
	"networkPolicy.enabled":                          {set: true, want: "kind: NetworkPolicy\n"},
	"networkPolicy.metricsFrom":                      {with: closed, set: []values{{"podSelector": values{}}}, want: "- podSelector: {}\n"},
	"networkPolicy.egressPorts":                      {with: closed, set: []int{16443}, want: "- port: 16443\n"},
	"networkPolicy.extraEgress":                      {with: closed, set: []values{{"ports": []values{{"port": 3128}}}}, want: "- port: 3128\n"},

	"resources.requests.cpu":                   {set: "11m", want: "cpu: 11m\n"},
	"resources.requests.memory":                {set: "65Mi", want: "memory: 65Mi\n"},
	"resources.limits.memory":                  {set: "1000M", want: "memory: 1000M\n"},
	"podSecurityContext.runAsNonRoot":          {set: false, want: "runAsNonRoot: false\n"},
	"podSecurityContext.seccompProfile.type":   {set: "Unconfined", want: "type: Unconfined\n"},
	"securityContext.allowPrivilegeEscalation": {set: true, want: "allowPrivilegeEscalation: true\n"},
	"securityContext.readOnlyRootFilesystem":   {set: false, want: "readOnlyRootFilesystem: false\n"},
	"securityContext.runAsNonRoot":             {set: false, want: "runAsNonRoot: false\n"},
	"securityContext.runAsGroup":               {set: 1234, want: "runAsGroup: 1234\n"},
	"securityContext.capabilities.drop":        {set: []string{"NET_RAW"}, want: "- NET_RAW\n"},

	"tests.enabled":                   {set: false, gone: "helm.sh/hook: test\n"},
	"tests.image":                     {set: "registry.example/kubectl", want: `image: "registry.example/kubectl"`},
	"tests.timeout":                   {set: "47s", want: "- --timeout=47s\n"},
	"tests.runAsUser":                 {set: 1234, want: "runAsUser: 1234\n"},
	"tests.resources.requests.cpu":    {set: "12m", want: "cpu: 12m\n"},
	"tests.resources.requests.memory": {set: "33Mi", want: "memory: 33Mi\n"},
	"tests.resources.limits.memory":   {set: "129Mi", want: "memory: 129Mi\n"},
}

// TestEachValueHasItsEffect sets each leaf of values.yaml separately.
func TestEachValueHasItsEffect(t *testing.T) {
	var defaults values
	if err := yaml.Unmarshal(must(os.ReadFile(filepath.Join(operatorChart, "values.yaml")))(t), &defaults); err != nil {
		t.Fatal(err)
	}
	known := sets.KeySet(leaves(defaults, ""))
	if more := sets.KeySet(effects).Difference(known); len(more) > 0 {
		t.Errorf("no value is called %v", sets.List(more))
	}
	for leaf := range known {
		t.Run(leaf, func(t *testing.T) {
			t.Parallel()
			row, has := effects[leaf]
			if !has {
				t.Fatal("it has no row")
			}
			before := manifest(t, row.with)
			after := manifest(t, merge(row.with, at(leaf, row.set)))
			if (row.want == "") == (row.gone == "") || before == after {
				t.Error("it has no effect, or the row does not say which")
			}
			if row.want != "" && (strings.Contains(before, row.want) || !strings.Contains(after, row.want)) {
				t.Errorf("it does not bring %q", row.want)
			}
			if row.gone != "" && (!strings.Contains(before, row.gone) || strings.Contains(after, row.gone)) {
				t.Errorf("it does not take %q", row.gone)
			}
		})
	}
}

// manifest is what the operator's chart renders, as text.
func manifest(t testing.TB, v values) string {
	t.Helper()
	return must(helm(t, nil, "template", operatorName, operatorChart, "--namespace", "ns", "--values", valuesFile(t, v)))(t)
}

// at is values with one leaf.
func at(leaf string, value any) values {
	first, rest, below := strings.Cut(leaf, ".")
	if below {
		value = at(rest, value)
	}
	return values{first: value}
}

// leaves are the values by path; empty values are leaves, too.
func leaves(v values, prefix string) map[string]any {
	all := map[string]any{}
	for key, value := range v {
		if below, ok := value.(values); ok && len(below) > 0 {
			for path, leaf := range leaves(below, prefix+key+".") {
				all[path] = leaf
			}
			continue
		}
		all[prefix+key] = value
	}
	return all
}
