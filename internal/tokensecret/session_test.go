/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tokensecret

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vmihailenco/msgpack/v5"
	"sigs.k8s.io/yaml"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

const sessionID = "5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11"

func session(t *testing.T, token, base string) map[string][]byte {
	t.Helper()
	parsed, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	data, err := Session{ID: sessionID, Token: cloud.NewToken(token), MachineID: "machine-1", URL: parsed}.Data()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// golden is written by hand from what a Fluent Bit was seen to read.
const golden = "c100" + // begins a chunk
	"0000000000000000" + // no checksum
	"00000041" + // 65 bytes of content
	"0000000000000000" + //
	"0017" + // 23 bytes of metadata
	"63616c79707469612d6167656e742d6f70657261746f72" + // calyptia-agent-operator
	"82" + // a map of two
	"a26964" + // id
	"d924" + // a string of 36 bytes
	"35663063396636652d336336372d346236322d396433632d366532613365396437633131" +
	"a5746f6b656e" + // token
	"b06167656e742e7369676e617475726531" // a string of 16 bytes: agent.signature1

func TestTheSessionFileHasTheBytesThatFluentBitReads(t *testing.T) {
	want, err := hex.DecodeString(golden)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 { // The same session gives the same bytes, or its Secret would be written again and again.
		got := session(t, "agent.signature1", "https://cloud-api.calyptia.com")[SessionKey]
		if diff := cmp.Diff(hex.Dump(want), hex.Dump(got)); diff != "" {
			t.Fatalf("-want +got:\n%s", diff)
		}
	}
}

// readChunk reads a session file as Fluent Bit's chunk library does, trusting only the lengths in its header.
func readChunk(raw []byte) (metadata string, content map[string]string, err error) {
	const header = 2 + 8 + 4 + 8
	switch {
	case len(raw) < header+2:
		return "", nil, errors.New("too short for a header")
	case raw[0] != 0xC1 || raw[1] != 0x00:
		return "", nil, fmt.Errorf("begins with % x", raw[:2])
	case !bytes.Equal(raw[2:10], make([]byte, 8)) || !bytes.Equal(raw[14:22], make([]byte, 8)):
		return "", nil, errors.New("what has to be zero is not")
	}
	contentLength := int(binary.BigEndian.Uint32(raw[10:14]))
	metadataLength := int(binary.BigEndian.Uint16(raw[header : header+2]))
	if len(raw) != header+2+metadataLength+contentLength {
		return "", nil, fmt.Errorf("%d bytes, and the header speaks of %d and %d", len(raw), metadataLength, contentLength)
	}
	rest := raw[header+2:]
	decoder := msgpack.NewDecoder(bytes.NewReader(rest[metadataLength:]))
	if err := decoder.Decode(&content); err != nil {
		return "", nil, err
	}
	if more, err := decoder.PeekCode(); err == nil {
		return "", nil, fmt.Errorf("something follows the map: %x", more)
	}
	return string(rest[:metadataLength]), content, nil
}

func TestTheSessionFileIsReadBack(t *testing.T) {
	for _, row := range []struct{ name, token string }{
		{"a short token", "t"},
		{"a token just too long for the short form", strings.Repeat("a", 32)},
		{"a token of the usual length", strings.Repeat("a", 80) + "." + strings.Repeat("b", 43)},
		{"a token of more than a byte of length", strings.Repeat("c", 300)},
		{"a token of more than two bytes of length", strings.Repeat("d", 70000)},
	} {
		t.Run(row.name, func(t *testing.T) {
			metadata, content, err := readChunk(session(t, row.token, "https://cloud-api.calyptia.com")[SessionKey])
			if err != nil {
				t.Fatal(err)
			}
			if metadata == "" || len(metadata) > 64 {
				t.Errorf("metadata %q", metadata)
			}
			if diff := cmp.Diff(map[string]string{"id": sessionID, "token": row.token}, content); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestTheIncludedConfigurationLeadsToTheService(t *testing.T) {
	for _, row := range []struct{ name, url, host, port, tls string }{
		{"https", "https://cloud-api.calyptia.com", "cloud-api.calyptia.com", "443", "on"},
		{"https with a port", "https://calyptia.internal:8443", "calyptia.internal", "8443", "on"},
		{"http", "http://localhost", "localhost", "80", "off"},
		{"http with a port", "http://127.0.0.1:5000", "127.0.0.1", "5000", "off"},
		{"an IPv6 address", "https://[fd00::1]:8443", "fd00::1", "8443", "on"},
	} {
		t.Run(row.name, func(t *testing.T) {
			data := session(t, "agent-token", row.url)
			classic := fmt.Sprintf(`[CUSTOM]
    name          calyptia
    api_key       none
    calyptia_host %s
    calyptia_port %s
    calyptia_tls  %s
    machine_id    machine-1
    store_path    /var/lib/calyptia
`, row.host, row.port, row.tls)
			if diff := cmp.Diff(classic, string(data[ClassicKey])); diff != "" {
				t.Errorf("%s, -want +got:\n%s", ClassicKey, diff)
			}
			var got any
			if err := yaml.Unmarshal(data[YAMLKey], &got); err != nil {
				t.Fatal(err)
			}
			// Fluent Bit's settings are strings: an unquoted on or 443 would be something else.
			want := map[string]any{"customs": []any{map[string]any{
				"name": "calyptia", "api_key": "none", "calyptia_host": row.host, "calyptia_port": row.port,
				"calyptia_tls": row.tls, "machine_id": "machine-1", "store_path": StorePath,
			}}}
			if diff := cmp.Diff(any(want), got); diff != "" {
				t.Errorf("%s, -want +got:\n%s", YAMLKey, diff)
			}
		})
	}
}

func TestTheTokenStandsInTheSessionFileAlone(t *testing.T) {
	data := session(t, "agent-token", "https://cloud-api.calyptia.com")
	if len(data) != 3 {
		t.Errorf("%d keys, want three", len(data))
	}
	for key, value := range data {
		if bytes.Contains(value, []byte("agent-token")) != (key == SessionKey) {
			t.Errorf("%s: %q", key, value)
		}
		if bytes.Contains(value, []byte("redacted")) {
			t.Errorf("%s holds a mask in place of the token", key)
		}
	}
}

func TestNamesOfSecrets(t *testing.T) {
	named := &v1alpha1.LocalSecretReference{Name: "mine"}
	for _, row := range []struct {
		name           string
		token, session *v1alpha1.LocalSecretReference
		wantToken      string
		wantSession    string
		wanted         bool
	}{
		{"none declared", nil, nil, "web-token", "", false},
		{"empty references take the defaults", &v1alpha1.LocalSecretReference{}, &v1alpha1.LocalSecretReference{}, "web-token", "web-session", true},
		{"names are taken", named, named, "mine", "mine", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := &v1alpha1.Agent{Spec: v1alpha1.AgentSpec{TokenSecretRef: row.token, SessionSecretRef: row.session}}
			a.Name = "web"
			if got := Name(a); got != row.wantToken {
				t.Errorf("token in %q, want %q", got, row.wantToken)
			}
			if got, wanted := SessionName(a); got != row.wantSession || wanted != row.wanted {
				t.Errorf("session in %q (%v), want %q (%v)", got, wanted, row.wantSession, row.wanted)
			}
		})
	}
}
