/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tokensecret

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/url"

	"github.com/vmihailenco/msgpack/v5"
	corev1 "k8s.io/api/core/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// Keys of the Secret with the session of a real Fluent Bit.
const (
	// SessionKey holds the file that Fluent Bit expects in its store path. It is binary.
	SessionKey = "session.CALYPTIA"
	// ClassicKey and YAMLKey hold the custom section of Fluent Bit's configuration, ready to be included.
	ClassicKey = "calyptia.conf"
	YAMLKey    = "calyptia.yaml"
)

// StorePath is where the included configuration lets Fluent Bit look for its session.
const StorePath = "/var/lib/calyptia"

// SessionName is the name of the Secret with the session, and whether one is wanted.
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

// Names are all the Secrets that an Agent wants: with its token, and with its session.
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

// Data is the content of the Secret.
func (s Session) Data() (map[string][]byte, error) {
	chunk, err := s.chunk()
	if err != nil {
		return nil, fmt.Errorf("the session cannot be encoded: %w", err)
	}
	port, tls := s.URL.Port(), "on"
	if s.URL.Scheme == "http" {
		tls = "off"
	}
	if port == "" {
		port = map[string]string{"on": "443", "off": "80"}[tls]
	}
	settings := [][2]string{
		{"name", "calyptia"},
		{"api_key", "none"}, // Never used: the session speaks for the agent.
		{"calyptia_host", s.URL.Hostname()},
		{"calyptia_port", port},
		{"calyptia_tls", tls},
		{"machine_id", s.MachineID},
		{"store_path", StorePath},
	}
	classic, yaml := bytes.NewBufferString("[CUSTOM]\n"), bytes.NewBufferString("customs:\n")
	for i, setting := range settings {
		fmt.Fprintf(classic, "    %-13s %s\n", setting[0], setting[1])
		fmt.Fprintf(yaml, "  %c %s: %q\n", "- "[min(i, 1)], setting[0], setting[1])
	}
	return map[string][]byte{SessionKey: chunk, ClassicKey: classic.Bytes(), YAMLKey: yaml.Bytes()}, nil
}

// headerSize is what comes before the length of the metadata: the chunk's mark, its checksum, the length of
// its content, and zeros.
const headerSize = 2 + 8 + 4 + 8

// SessionID reads whose session a Secret holds; empty if it holds none.
func SessionID(secret *corev1.Secret) string {
	raw := secret.Data[SessionKey]
	if len(raw) < headerSize+2 {
		return ""
	}
	content := raw[headerSize+2:]
	metadata := int(binary.BigEndian.Uint16(raw[headerSize:]))
	if metadata > len(content) {
		return ""
	}
	var session struct {
		ID string `msgpack:"id"`
	}
	if msgpack.Unmarshal(content[metadata:], &session) != nil {
		return ""
	}
	return session.ID
}

// chunk is the session as Fluent Bit's chunk library stores it: a header without checksum, a short
// metadata string, and a MessagePack map with the id and the token.
func (s Session) chunk() ([]byte, error) {
	const metadata = "calyptia-agent-operator"
	var content bytes.Buffer
	encoder := msgpack.NewEncoder(&content)
	encoder.SetSortMapKeys(true) // The same session gives the same bytes.
	if err := encoder.Encode(map[string]string{"id": s.ID, "token": s.Token.Reveal()}); err != nil {
		return nil, err
	}
	chunk := append([]byte{0xC1, 0x00}, make([]byte, 8)...)
	chunk = binary.BigEndian.AppendUint32(chunk, uint32(content.Len()))
	chunk = append(chunk, make([]byte, 8)...)
	chunk = binary.BigEndian.AppendUint16(chunk, uint16(len(metadata)))
	chunk = append(chunk, metadata...)
	return append(chunk, content.Bytes()...), nil
}
