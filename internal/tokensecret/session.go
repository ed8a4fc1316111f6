/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tokensecret

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/url"
	"regexp"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

// Keys of the Secret with the session of a real Fluent Bit.
const (
	// SessionKey holds the file that Fluent Bit expects in its store path. It is binary.
	SessionKey = "session.CALYPTIA"
	// ClassicKey and YAMLKey hold the custom section of Fluent Bit's configuration, ready to be included.
	ClassicKey = "calyptia.conf"
	YAMLKey    = "calyptia.yaml"
)

// StorePath is the directory of the session in the included configuration.
const StorePath = "/var/lib/calyptia"

// SessionName returns the name of the Secret with the session, and whether there should be one.
func SessionName(agent *v1alpha1.Agent) (name string, wanted bool) {
	ref := agent.Spec.SessionSecretRef
	switch {
	case ref == nil:
		return "", false
	case ref.Name == "":
		return agent.Name + SessionSuffix, true
	default:
		return ref.Name, true
	}
}

// Names returns the names of an Agent's Secrets: with its token, and with its session.
func Names(agent *v1alpha1.Agent) []string {
	names := []string{Name(agent)}
	if session, wanted := SessionName(agent); wanted {
		names = append(names, session)
	}
	return names
}

// Session is what a real Fluent Bit needs to run as an agent without a project token.
type Session struct {
	ID        string
	Token     cloud.Token
	MachineID string
	URL       *url.URL
}

// hostName matches the hosts that may be written into a configuration of Fluent Bit, beside IP addresses: a line break would
// start another setting or section, and a section can run commands.
var hostName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$`)

// UsableURL fails for a URL that Fluent Bit cannot use: its configuration has a host and a port, and no path.
func UsableURL(u *url.URL) error {
	host := u.Hostname()
	switch {
	case u.Path != "" && u.Path != "/":
		return fault.Terminalf(v1alpha1.ReasonInvalid, "spec.sessionSecretRef: a Fluent Bit session cannot use the path %q "+
			"of the CloudProject's url: remove sessionSecretRef, or use a url without a path", u.Path)
	case !hostName.MatchString(host) && net.ParseIP(host) == nil:
		return fault.Terminalf(v1alpha1.ReasonInvalid, "spec.sessionSecretRef: a Fluent Bit session cannot use the host %q "+
			"of the CloudProject's url: remove sessionSecretRef, or use a url with a host name or an IP address", host)
	}
	return nil
}

// check fails for values that must not be written to a configuration or a session file.
func (s Session) check() error {
	if err := UsableURL(s.URL); err != nil {
		return err
	}
	for _, value := range []struct{ what, text string }{{"ID", s.ID}, {"machine ID", s.MachineID}} {
		if !cloud.ValidMachineID(value.text) {
			return fault.Terminalf(v1alpha1.ReasonInvalidResponse, "the %s of the remote agent cannot be written into a configuration of "+
				"Fluent Bit: remove spec.sessionSecretRef, or use an agent whose %s has at most 128 letters, digits, '-', '_', '.' and ':'",
				value.what, value.what)
		}
	}
	if len(s.Token.Reveal()) > cloud.MaxToken {
		return fault.Terminalf(v1alpha1.ReasonInvalidResponse,
			"the token of the remote agent is longer than %d bytes: check which server responds at the CloudProject's url", cloud.MaxToken)
	}
	return nil
}

// Data is the content of the Secret. An error is terminal: a value cannot be used in a configuration.
func (s Session) Data() (map[string][]byte, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	port, tls := s.URL.Port(), "on"
	if s.URL.Scheme == "http" {
		tls = "off"
	}
	if port == "" {
		port = map[string]string{"on": "443", "off": "80"}[tls]
	}
	classic, settings := bytes.NewBufferString("[CUSTOM]\n"), map[string]string{}
	for _, setting := range [][2]string{
		{"name", "calyptia"},
		{"api_key", "none"}, // Never used: the session has the agent's token.
		{"calyptia_host", s.URL.Hostname()},
		{"calyptia_port", port},
		{"calyptia_tls", tls},
		{"machine_id", s.MachineID},
		{"store_path", StorePath},
	} {
		fmt.Fprintf(classic, "    %-13s %s\n", setting[0], setting[1])
		settings[setting[0]] = setting[1]
	}
	inYAML, err := yaml.Marshal(map[string]any{"customs": []any{settings}})
	if err != nil {
		return nil, fmt.Errorf("the session cannot be encoded: %w", err)
	}
	return map[string][]byte{SessionKey: s.chunk(), ClassicKey: classic.Bytes(), YAMLKey: inYAML}, nil
}

// headerSize is the size of the header before the length of the metadata: the chunk's magic bytes, its checksum, the
// length of its content, and zeros.
const headerSize = 2 + 8 + 4 + 8

// SessionID returns the agent ID of the session in a Secret; empty if there is none.
func SessionID(secret *corev1.Secret) string { return readSession(secret.Data[SessionKey])["id"] }

// readSession returns the ID and the token in a session; nil if it is none.
func readSession(raw []byte) map[string]string {
	if len(raw) < headerSize+2 {
		return nil
	}
	content := raw[headerSize+2:]
	metadata := int(binary.BigEndian.Uint16(raw[headerSize:]))
	if metadata > len(content) {
		return nil
	}
	return readMap(content[metadata:])
}

// chunk is the session as Fluent Bit's chunk library stores it: a header without checksum, a short
// metadata string, and a MessagePack map with the id and the token. The same session gives the same bytes.
func (s Session) chunk() []byte {
	const metadata = "calyptia-agent-operator"
	content := appendMap(nil, "id", s.ID, "token", s.Token.Reveal())
	chunk := append([]byte{0xC1, 0x00}, make([]byte, 8)...)
	chunk = binary.BigEndian.AppendUint32(chunk, uint32(len(content)))
	chunk = append(chunk, make([]byte, 8)...)
	chunk = binary.BigEndian.AppendUint16(chunk, uint16(len(metadata)))
	chunk = append(chunk, metadata...)
	return append(chunk, content...)
}
