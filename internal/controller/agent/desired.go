/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"encoding/json"
	"reflect"
	"slices"

	"github.com/google/uuid"
	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/rawconfig"
)

const defaultEdition = "community"

// field is one declared field: how it is told from its remote value, and how it is sent.
type field struct {
	name string
	hash string
	// same compares with the remote value; nil where the service does not show it.
	same func(*cloud.Agent) bool
	set  func(*cloud.Update)
}

// declared lists the fields that the Agent manages. What the spec leaves unset is not among them.
func declared(spec *v1alpha1.AgentSpec, config *rawconfig.Config) []field {
	var fields []field
	text := func(name, value string, remote func(*cloud.Agent) string, target func(*cloud.Update) **string) {
		if value == "" {
			return
		}
		f := field{name: name, hash: cloud.Hash(value), set: func(u *cloud.Update) { *target(u) = &value }}
		if remote != nil {
			f.same = func(a *cloud.Agent) bool { return remote(a) == value }
		}
		fields = append(fields, f)
	}
	text("environmentID", spec.EnvironmentID, nil, func(u *cloud.Update) **string { return &u.EnvironmentID })
	text("fleetID", spec.FleetID, remoteFleet, func(u *cloud.Update) **string { return &u.FleetID })
	text("name", spec.Name, func(a *cloud.Agent) string { return a.Name }, func(u *cloud.Update) **string { return &u.Name })
	text("version", spec.Version, func(a *cloud.Agent) string { return a.Version }, func(u *cloud.Update) **string { return &u.Version })
	text("edition", spec.Edition, func(a *cloud.Agent) string { return a.Edition }, func(u *cloud.Update) **string { return &u.Edition })
	if config.Data != "" || config.Hash != "" {
		fields = append(fields, configField(config))
	}
	if flags := spec.Flags; flags != nil {
		fields = append(fields, field{
			name: "flags", hash: cloud.Hash(flags),
			same: func(a *cloud.Agent) bool { return slices.Equal(a.Flags, flags) },
			set:  func(u *cloud.Update) { u.Flags = &flags },
		})
	}
	if spec.Metadata != nil {
		raw := json.RawMessage(spec.Metadata.Raw)
		fields = append(fields, field{
			name: "metadata", hash: cloud.Hash(cloud.Canonical(raw)),
			same: func(a *cloud.Agent) bool { return reflect.DeepEqual(cloud.Canonical(a.Metadata), cloud.Canonical(raw)) },
			set:  func(u *cloud.Update) { u.Metadata = raw },
		})
	}
	return fields
}

// configField follows the configuration when the rest of it is read.
func configField(config *rawconfig.Config) field {
	f := field{name: v1alpha1.FieldRawConfig, hash: config.Digest(), set: func(u *cloud.Update) { u.RawConfig = &config.Data }}
	f.same = func(a *cloud.Agent) bool {
		if config.Data == "" {
			return config.Key.Digest(cloud.Hash(a.RawConfig)) == f.hash
		}
		return a.RawConfig == config.Data
	}
	return f
}

func remoteFleet(a *cloud.Agent) string {
	if a.FleetID == nil {
		return ""
	}
	return *a.FleetID
}

// update is the smallest PATCH that brings these fields about.
func update(fields []field) cloud.Update {
	var u cloud.Update
	for _, f := range fields {
		f.set(&u)
	}
	return u
}

func names(fields []field) []string {
	var all []string
	for _, f := range fields {
		all = append(all, f.name)
	}
	slices.Sort(all)
	return all
}

func hashes(fields []field) map[string]string {
	all := make(map[string]string, len(fields))
	for _, f := range fields {
		all[f.name] = f.hash
	}
	return all
}

// changed are the fields that were not applied as they are declared now.
func changed(fields []field, applied map[string]string) []field {
	return slices.DeleteFunc(slices.Clone(fields), func(f field) bool { return applied[f.name] == f.hash })
}

// differing are the fields whose remote value is another one.
func differing(fields []field, remote *cloud.Agent) []field {
	return slices.DeleteFunc(slices.Clone(fields), func(f field) bool { return f.same == nil || f.same(remote) })
}

// registrationBody is the body that registers the Agent.
func registrationBody(agent *v1alpha1.Agent, config rawconfig.Config, machineID string) cloud.Registration {
	r := cloud.Registration{
		Name:          agent.Spec.Name,
		MachineID:     machineID,
		Type:          string(agent.Spec.Type),
		Version:       agent.Spec.Version,
		Edition:       agent.Spec.Edition,
		Flags:         agent.Spec.Flags,
		RawConfig:     config.Data,
		FleetID:       agent.Spec.FleetID,
		EnvironmentID: agent.Spec.EnvironmentID,
	}
	if r.Name == "" {
		r.Name = agent.Name
	}
	if r.Edition == "" {
		r.Edition = defaultEdition
	}
	if agent.Spec.Metadata != nil {
		r.Metadata = json.RawMessage(agent.Spec.Metadata.Raw)
	}
	return r
}

// derivedMachineID is the machine ID of an Agent that declares none. The same cluster, namespace and
// name always give the same one, so that an Agent restored from a backup finds itself again.
func derivedMachineID(clusterID string, key types.NamespacedName) string {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte("cloud.calyptia.com/"+clusterID+"/"+key.Namespace+"/"+key.Name)).String()
}
