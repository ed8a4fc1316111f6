/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package importer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// Limits of the Agent CRD; a test compares them.
var (
	hostPattern    = regexp.MustCompile(`^[a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?([.][a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?)*$`)
	versionPattern = regexp.MustCompile(`^v?[0-9]+[.][0-9]+[.][0-9]+([-+][0-9A-Za-z.+-]+)?$`)
	uuidPattern    = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
)

const (
	maxName       = 253
	maxVersion    = 64
	maxFlags      = 128
	maxFlag       = 1024
	maxProperties = 256
	maxInline     = 128 << 10
	// maxMetadata is our own: an object has to fit the API server as a whole.
	maxMetadata = 256 << 10
	// maxConfigMap is the limit of Kubernetes.
	maxConfigMap = 1 << 20
)

// configKey is the key of the configuration in a ConfigMap.
const configKey = "config"

// manifest is an object without a status.
type manifest[Spec any] struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              Spec `json:"spec"`
}

// declare makes the objects that declare a remote agent as it is; the Agent comes last. A field that cannot be declared
// is left out, so it is unmanaged, and left says why. An environment whose name is not in the list of the
// project is left out, too: the API does not show its ID.
func (o *options) declare(a *named) (objects []any, left []string, err error) {
	meta := metav1.ObjectMeta{Name: a.object, Namespace: o.namespace}
	if a.key != "" {
		meta.Labels = map[string]string{v1alpha1.LabelAgentSet: o.agentSet, v1alpha1.LabelAgentSetKey: o.naming.Slot(a.key)}
	}
	agent := &manifest[v1alpha1.AgentSpec]{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Agent"},
		ObjectMeta: meta,
		Spec: v1alpha1.AgentSpec{
			AgentID: a.ID, ProjectRef: o.project, SyncPolicy: v1alpha1.SyncPolicy(o.syncPolicy),
		},
	}
	spec := &agent.Spec
	leave := func(field, why string) { left = append(left, "spec."+field+" is left out: "+why) }
	for _, field := range o.fields(a, spec) {
		switch {
		case field.empty:
		case o.holdsToken(&a.Agent, field.texts...):
			leave(field.name, field.secret())
		case field.wrong != "":
			leave(field.name, field.wrong)
		case !appliable(field.texts):
			leave(field.name, "it contains control characters that kubectl apply does not preserve: remove them, or leave the field unmanaged")
		default:
			field.set()
		}
	}
	if len(spec.RawConfig) > maxConfigMap {
		return nil, nil, fmt.Errorf("its rawConfig has more bytes than a ConfigMap takes (%d): make it smaller, "+
			"or write an Agent with agentID and without rawConfig", maxConfigMap)
	}
	if len(spec.RawConfig) > maxInline || o.configMaps && len(spec.RawConfig) > o.configMapsAbove<<10 {
		source := meta
		source.Labels = nil
		source.Name += "-config"
		objects = append(objects, &corev1.ConfigMap{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
			ObjectMeta: source,
			Data:       map[string]string{configKey: spec.RawConfig},
		})
		spec.RawConfig = ""
		spec.RawConfigFrom = &v1alpha1.KeySource{
			ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: source.Name, Key: configKey},
		}
	}
	return append(objects, agent), left, nil
}

// field is one field of a remote agent, on its way into a spec.
type field struct {
	name  string
	texts []string // what it holds
	empty bool
	wrong string // why the CRD or the API server would not keep it as it is
	set   func()
}

// secret says what to do about a field that holds a token.
func (f field) secret() string {
	if f.name == "rawConfig" {
		return "it contains a token, which must not get into Git: put the configuration into a Secret, " +
			"and reference it in spec.rawConfigFrom.secretKeyRef"
	}
	return "it contains a token, which must not get into Git: remove the token"
}

func (o *options) fields(a *named, spec *v1alpha1.AgentSpec) []field {
	text := func(name, value string, fits bool, wrong string, set func()) field {
		if fits {
			wrong = ""
		}
		return field{name: name, texts: []string{value}, empty: value == "", wrong: wrong, set: set}
	}
	metadata, wrong := plainMetadata(a.Metadata)
	return []field{
		text("type", a.Type, knownType(a.Type), "it is neither fluentbit nor fluentd; an adopted agent needs no type",
			func() { spec.Type = v1alpha1.AgentType(a.Type) }),
		text("name", a.Name, len(a.Name) <= maxName && hostPattern.MatchString(a.Name),
			"it is not a host name: rename the agent, or leave the field unmanaged", func() { spec.Name = a.Name }),
		text("version", a.Version, len(a.Version) <= maxVersion && versionPattern.MatchString(a.Version),
			"it is not a version such as v4.0.0: correct it, or leave the field unmanaged", func() { spec.Version = a.Version }),
		text("edition", a.Edition, a.Edition == "community" || a.Edition == "enterprise",
			"it is neither community nor enterprise: correct it, or leave the field unmanaged", func() { spec.Edition = a.Edition }),
		o.fleet(a.Fleet(), spec),
		{
			name: "environment", texts: []string{a.EnvironmentName}, empty: !o.targets.environments[a.EnvironmentName],
			set: func() { spec.Environment = &v1alpha1.EnvironmentReference{Name: a.EnvironmentName} },
		},
		{
			name: "flags", texts: a.Flags, empty: len(a.Flags) == 0, wrong: wrongFlags(a.Flags),
			set: func() { spec.Flags = a.Flags },
		},
		{
			name: "metadata", texts: append(words(metadata), string(metadata)), wrong: wrong,
			empty: len(a.Metadata) == 0 || string(metadata) == "{}",
			set:   func() { spec.Metadata = &apiextensionsv1.JSON{Raw: metadata} },
		},
		text("rawConfig", a.RawConfig, true, "", func() { spec.RawConfig = a.RawConfig }),
	}
}

// fleet is declared by its name where that is unambiguous.
func (o *options) fleet(id string, spec *v1alpha1.AgentSpec) field {
	ref := v1alpha1.FleetReference{ID: id}
	if name := o.targets.fleets[id]; name != "" {
		ref = v1alpha1.FleetReference{Name: name}
	}
	f := field{name: "fleet", texts: []string{id, ref.Name}, empty: id == "", set: func() { spec.Fleet = &ref }}
	if !uuidPattern.MatchString(id) {
		f.wrong = "its ID is not a lower-case UUID: correct it, or leave the field unmanaged"
	}
	return f
}

func knownType(kind string) bool {
	return kind == string(v1alpha1.AgentTypeFluentBit) || kind == string(v1alpha1.AgentTypeFluentd)
}

func wrongFlags(flags []string) string {
	bad := func(flag string) bool { return flag == "" || len(flag) > maxFlag }
	if len(flags) > maxFlags || slices.ContainsFunc(flags, bad) {
		return fmt.Sprintf("there are more than %d, or one is empty or longer than %d: correct them, or leave the field unmanaged",
			maxFlags, maxFlag)
	}
	return ""
}

// appliable reports whether texts come through a server-side apply: it sends JSON, which the API server reads as
// YAML, and YAML takes some characters for line breaks and refuses others.
func appliable(texts []string) bool {
	plain, err := json.Marshal(texts)
	return err == nil && equal(plain, plain)
}

// holdsToken reports whether a text holds the project token, the agent's own, also in an encoding, or that of another agent as it is.
func (o *options) holdsToken(a *cloud.Agent, texts ...string) bool {
	return slices.ContainsFunc(texts, func(text string) bool {
		return cloud.Holds(text, o.token) || cloud.Holds(text, a.Token) || o.others.Replace(text) != text
	})
}

// shortestToken keeps a word from being taken for another agent's token.
const shortestToken = 16

// hider hides the tokens of all agents: the list shows them.
func hider(agents []cloud.Agent) *strings.Replacer {
	var pairs []string
	for i := range agents {
		if token := agents[i].Token; token.Usable() && len(token.Reveal()) >= shortestToken {
			pairs = append(pairs, token.Reveal(), cloud.Redacted)
		}
	}
	return strings.NewReplacer(pairs...)
}

// plainMetadata returns the metadata with sorted keys, or why the API server would change it: then the operator would see
// a difference where there is none.
func plainMetadata(raw json.RawMessage) (plain json.RawMessage, wrong string) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var object map[string]any
	switch err := decoder.Decode(&object); {
	case len(raw) == 0:
		return nil, ""
	case err != nil || object == nil:
		return nil, "it is not a JSON object: correct it, or leave the field unmanaged"
	case len(object) > maxProperties || len(raw) > maxMetadata:
		return nil, fmt.Sprintf("it has more than %d keys or %d KiB: make it smaller, or leave the field unmanaged",
			maxProperties, maxMetadata>>10)
	case !survives(object):
		return nil, "it contains a number that does not fit in 64 bits and would be rounded: make it a string, or leave the field unmanaged"
	}
	plain, err := json.Marshal(object)
	if err != nil {
		return nil, "it is not a JSON object: correct it, or leave the field unmanaged"
	}
	return plain, ""
}

// words are the keys and texts in a JSON value, as a manifest shows them: in the JSON itself some characters of a token are escaped.
func words(raw json.RawMessage) (all []string) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	for {
		token, err := decoder.Token()
		if err != nil {
			return all
		}
		if text, ok := token.(string); ok {
			all = append(all, text)
		}
	}
}

// survives reports whether the numbers of a JSON value pass through YAML and the API server unchanged, where they
// are an int64 or a float64.
func survives(value any) bool {
	const exact = 1 << 53
	switch v := value.(type) {
	case map[string]any:
		for _, inner := range v {
			if !survives(inner) {
				return false
			}
		}
	case []any:
		return !slices.ContainsFunc(v, func(inner any) bool { return !survives(inner) })
	case json.Number:
		if f, err := v.Float64(); err == nil && f > -exact && f < exact {
			return true
		}
		n, err := v.Int64()
		return err == nil && strconv.FormatInt(n, 10) == v.String()
	}
	return true
}
