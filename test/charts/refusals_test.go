/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package charts_test

import (
	"strings"
	"testing"
)

// TestRefusals has a row for each kind of mistake, with the expected message of helm.
func TestRefusals(t *testing.T) {
	project := values{"p": values{"spec": values{"tokenSecretRef": values{"name": "s"}}}}
	for _, row := range []struct {
		name  string
		chart string
		give  values
		want  []string
	}{
		{"a value that does not exist", operatorChart, values{"replica": 1}, []string{"replica"}},
		{"a nested value that does not exist", operatorChart, values{"metrics": values{"enable": true}}, []string{"/metrics", "enable"}},
		{"a string for a number", operatorChart, values{"replicaCount": "two"}, []string{"/replicaCount"}},
		{"an old name of replicaCount", operatorChart, values{"replicas": 2}, []string{"replicas: it is called replicaCount now: rename it"}},
		{"an old name of crds.enabled", operatorChart, values{"crds": values{"install": false}},
			[]string{"crds.install: it is called crds.enabled now: rename it"}},
		{"no image", operatorChart, values{"image": values{"tag": ""}},
			[]string{"image.tag: this chart was not released", "set image.repository and image.tag (or image.digest)"}},
		{"a repository without a tag", operatorChart, values{"image": values{"repository": "registry.example/op", "tag": ""}},
			[]string{"image.tag: this chart was not released"}},
		{"a monitor that cannot check the certificate", operatorChart, values{"metrics": values{"serviceMonitor": values{"enabled": true}}},
			[]string{"metrics.serviceMonitor: the operator signs its own certificate", "set metrics.certificate.secretName"}},
		{"a monitor without an account", operatorChart, merge(monitored, values{"metrics": values{"rbac": values{"create": false}}}),
			[]string{"metrics.serviceMonitor.authorization: without metrics.rbac.create there is no account for Prometheus"}},
		{"two certificates", operatorChart, values{"metrics": values{"certPath": "/c", "certificate": values{"secretName": "c"}}},
			[]string{"set one of the two"}},
		{"an alert that does not exist", operatorChart, merge(ruled, values{"metrics": values{"rules": values{"alerts": values{"Slow": values{}}}}}),
			[]string{"metrics.rules.alerts.Slow: there is no such alert", "CalyptiaCloudSlow"}},
		{"a threshold of an alert without one", operatorChart, merge(ruled, values{"metrics": values{"rules": values{"alerts": values{
			"CalyptiaOperatorAbsent": values{"threshold": 1}}}}}),
			[]string{"metrics.rules.alerts.CalyptiaOperatorAbsent.threshold: this alert has none"}},
		{"a proxy without scheme", operatorChart, values{"httpsProxy": "proxy:3128"}, []string{"/httpsProxy"}},
		{"no host", operatorChart, values{"allowedHosts": []string{}}, []string{"/allowedHosts"}},
		{"a URL for a host", operatorChart, values{"allowedHosts": []string{"https://a.example"}}, []string{"/allowedHosts/0"}},
		{"two hosts in one", operatorChart, values{"allowedHosts": []string{"a.example,b.example"}}, []string{"/allowedHosts/0"}},
		{"no workers", operatorChart, values{"concurrency": 0}, []string{"/concurrency"}},
		{"too many workers", operatorChart, values{"concurrency": 1001}, []string{"/concurrency"}},
		{"a default project without namespace", operatorChart, values{"defaultProject": "calyptia"}, []string{"/defaultProject"}},
		{"an invalid namespace", operatorChart, values{"watchNamespaces": []string{"A_b"}, "clusterID": "x"},
			[]string{"/watchNamespaces/0"}},
		{"a cluster ID that a pod would expand", operatorChart, values{"clusterID": "$(HOME)"}, []string{"/clusterID"}},
		{"namespaces without a cluster ID", operatorChart, values{"watchNamespaces": []string{"a"}},
			[]string{"watchNamespaces: needs clusterID", "set clusterID to"}},
		{"a default project in another namespace", operatorChart,
			values{"watchNamespaces": []string{"a"}, "clusterID": "x", "defaultProject": "b/calyptia"},
			[]string{"defaultProject: its namespace b is not watched: add it to watchNamespaces"}},
		{"two replicas without leader election", operatorChart, values{"leaderElection": values{"enabled": false}},
			[]string{"replicaCount: more than one needs leaderElection.enabled"}},
		{"a monitor without metrics", operatorChart, values{"metrics": values{"enabled": false, "serviceMonitor": values{"enabled": true}}},
			[]string{"metrics.serviceMonitor.enabled: needs metrics.enabled"}},
		{"rules without metrics", operatorChart, values{"metrics": values{"enabled": false, "rules": values{"enabled": true}}},
			[]string{"metrics.rules.enabled: needs metrics.enabled"}},
		{"dashboards without metrics", operatorChart, values{"metrics": values{"enabled": false, "dashboards": values{"enabled": true}}},
			[]string{"metrics.dashboards.enabled: needs metrics.enabled"}},
		{"a name with dots", operatorChart, values{"fullnameOverride": "op.a"}, []string{"/fullnameOverride"}},
		{"a part of a name with dots", operatorChart, values{"nameOverride": "op.a"}, []string{"/nameOverride"}},
		{"an invalid name of a Service", operatorChart, values{"fullnameOverride": "1-op"},
			[]string{"fullnameOverride: no Service can be named after 1-op: set it to"}},
		{"an invalid memory limit", operatorChart, values{"resources": values{"limits": values{"memory": "much"}}},
			[]string{"resources.limits.memory: much is not a quantity"}},
		{"a test as root", operatorChart, values{"tests": values{"runAsUser": 0}}, []string{"/tests/runAsUser"}},
		{"no account", operatorChart, values{"serviceAccount": values{"create": false}}, []string{"serviceAccount.name: name the ServiceAccount"}},
		{"a reader without namespace", operatorChart, values{"metrics": values{"rbac": values{"readers": []values{
			{"kind": "ServiceAccount", "name": "prometheus"}}}}}, []string{"/metrics/rbac/readers/0", "namespace"}},
		{"an argument that is not a flag", operatorChart, values{"extraArgs": []string{"import"}}, []string{"/extraArgs/0"}},
		{"a level that does not exist", operatorChart, values{"log": values{"level": "warn"}}, []string{"/log/level"}},
		{"a level that shows Secrets", operatorChart, values{"log": values{"level": 8}}, []string{"/log/level"}},
		{"a deadline as long as the lease", operatorChart, values{"leaderElection": values{"renewDeadline": "30s"}},
			[]string{"leaderElection.renewDeadline: 30s must be less than leaseDuration, which is 30s"}},
		{"a lease in another unit than its deadline", operatorChart, values{"leaderElection": values{"leaseDuration": "1m", "renewDeadline": "60000ms"}},
			[]string{"leaderElection.renewDeadline: 60000ms must be less than leaseDuration, which is 1m"}},
		{"a retry period too long for the deadline", operatorChart, values{"leaderElection": values{"renewDeadline": "12s", "retryPeriod": "10s"}},
			[]string{"leaderElection.retryPeriod: 1.2 times 10s must be less than renewDeadline, which is 12s"}},
		{"a lease of a fraction of a second", operatorChart, values{"leaderElection": values{"leaseDuration": "30500ms"}}, []string{"/leaderElection/leaseDuration"}},
		{"a lease that is a number", operatorChart, values{"leaderElection": values{"leaseDuration": 30}}, []string{"/leaderElection/leaseDuration"}},
		{"no pause", operatorChart, values{"leaderElection": values{"retryPeriod": "0s"}}, []string{"/leaderElection/retryPeriod"}},
		{"a lease of a day", operatorChart, values{"leaderElection": values{"leaseDuration": "1440m"}},
			[]string{"leaderElection.leaseDuration: 1440m must be at most 1h"}},
		{"a digest without algorithm", operatorChart, values{"image": values{"digest": "0123"}}, []string{"/image/digest"}},
		{"a port out of range", operatorChart, values{"probes": values{"port": 70000}}, []string{"/probes/port"}},

		{"a field that Agents do not have", agentsChart, values{"agents": values{"a": values{"spec": values{"rawconfig": "x"}}}},
			[]string{"/agents/a/spec", "rawconfig"}},
		{"a field that CloudProjects do not have", agentsChart, values{"cloudProjects": values{"p": values{"spec": values{"host": "x"}}}},
			[]string{"/cloudProjects/p/spec", "host"}},
		{"a type that does not exist", agentsChart, values{"agents": values{"a": values{"spec": values{"type": "vector"}}}},
			[]string{"/agents/a/spec/type", "fluentbit"}},
		{"an invalid name of an object", agentsChart, values{"agents": values{"A_b": values{}}}, []string{"'A_b' does not match"}},
		{"a field outside of spec", agentsChart, values{"agents": values{"a": values{"type": "fluentbit"}}}, []string{"/agents/a", "type"}},
		{"no token", agentsChart, values{"cloudProjects": values{"p": values{}}},
			[]string{"cloudProjects.p: needs spec.tokenSecretRef.name"}},
		{"two tokens", agentsChart, values{"cloudProjects": values{"p": values{"token": "t", "spec": values{
			"tokenSecretRef": values{"name": "s"}}}}}, []string{"cloudProjects.p: set token or spec.tokenSecretRef, not both"}},
		{"an agent of one of two projects", agentsChart, values{"agents": values{"a": values{}},
			"cloudProjects": merge(project, values{"q": project["p"]})}, []string{"agents.a: set spec.projectRef.name to one of p, q"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			for version, path := range helms {
				_, err := tryRender(t, path, row.chart, "ns", row.give)
				if err == nil {
					t.Fatalf("%s accepted it", version)
				}
				for _, want := range row.want {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("%s: %v\nlacks %q", version, err, want)
					}
				}
			}
		})
	}
}
