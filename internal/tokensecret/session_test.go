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
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/fault"
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
	content, more, err := cloudtest.UnpackStrings(rest[metadataLength:])
	if err != nil {
		return "", nil, err
	}
	if len(more) > 0 {
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

func TestTheIncludedConfigurationLeadsToTheAPI(t *testing.T) {
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

// The server chooses the machine ID, and a user the host in the CloudProject.
func TestForeignValuesCannotStartASectionOfTheConfiguration(t *testing.T) {
	const attack = "m\n[INPUT]\n    Name exec\n    Command id"
	for _, row := range []struct {
		name, id, machineID, url string
		refused                  string // a word of the refusal; empty for none
	}{
		{"all is right", sessionID, "machine-1", "https://cloud-api.calyptia.com", ""},
		{"the content of /etc/machine-id", sessionID, "fa1b0d2b7b9b4b3f8a1c5d6e7f8a9b0c", "https://cloud-api.calyptia.com/", ""},
		{"the longest machine ID", sessionID, strings.Repeat("a", 128), "https://cloud-api.calyptia.com", ""},
		{"a loopback address", sessionID, "m", "http://[::1]:5000", ""},
		{"a section in the machine ID", sessionID, attack, "https://cloud-api.calyptia.com", "machine ID"},
		{"a carriage return", sessionID, "m\rName exec", "https://cloud-api.calyptia.com", "machine ID"},
		{"a line break at the end", sessionID, "m\n", "https://cloud-api.calyptia.com", "machine ID"},
		{"a space, which ends a value", sessionID, "m 1", "https://cloud-api.calyptia.com", "machine ID"},
		{"a variable of the environment", sessionID, "${SECRET}", "https://cloud-api.calyptia.com", "machine ID"},
		{"a comment", sessionID, "#m", "https://cloud-api.calyptia.com", "machine ID"},
		{"a directive", sessionID, "@INCLUDE", "https://cloud-api.calyptia.com", "machine ID"},
		{"a quote", sessionID, `m"`, "https://cloud-api.calyptia.com", "machine ID"},
		{"a character that ends a line in YAML", sessionID, "m\u2028x", "https://cloud-api.calyptia.com", "machine ID"},
		{"no machine ID", sessionID, "", "https://cloud-api.calyptia.com", "machine ID"},
		{"a machine ID too long", sessionID, strings.Repeat("a", 129), "https://cloud-api.calyptia.com", "machine ID"},
		{"a machine ID of 1.5 MiB", sessionID, strings.Repeat("a", 3<<19), "https://cloud-api.calyptia.com", "machine ID"},
		{"an ID with a line break", "a\nb", "m", "https://cloud-api.calyptia.com", "ID"},
		{"an ID of 1.5 MiB", strings.Repeat("a", 3<<19), "m", "https://cloud-api.calyptia.com", "ID"},
		{"a host with a space", sessionID, "m", "https://a%20b", "host"},
		{"a host with a line break", sessionID, "m", "https://a%0Ab", "host"},
		{"a zone", sessionID, "m", "https://[fe80::1%25eth0]", "host"},
		{"no host", sessionID, "m", "https:", "host"},
		{"a path", sessionID, "m", "https://gw.corp/calyptia", "path"},
	} {
		t.Run(row.name, func(t *testing.T) {
			parsed, err := url.Parse(row.url)
			if err != nil {
				parsed = &url.URL{Scheme: "https", Host: strings.NewReplacer("https://", "", "%20", " ", "%0A", "\n").Replace(row.url)}
			}
			data, err := Session{ID: row.id, Token: cloud.NewToken("t"), MachineID: row.machineID, URL: parsed}.Data()
			if row.refused == "" {
				if err != nil || bytes.Count(data[ClassicKey], []byte("\n")) != 8 {
					t.Errorf("error %v, it holds %q", err, data[ClassicKey])
				}
				return
			}
			f, ok := fault.As(err)
			if !ok || f.Class != fault.Terminal || !strings.Contains(f.Message, row.refused) || len(f.Message) > 1000 {
				t.Errorf("error %.300v", err)
			}
			if data != nil {
				t.Errorf("it holds %.300q", data)
			}
		})
	}
	_, err := Session{ID: sessionID, MachineID: "m", URL: &url.URL{Host: "h"}, Token: cloud.NewToken(strings.Repeat("t", cloud.MaxToken+1))}.Data()
	if f, ok := fault.As(err); !ok || f.Class != fault.Terminal || strings.Contains(f.Message, "ttt") {
		t.Errorf("a token too long: error %.300v", err)
	}
}

// What is read is somebody's Secret of up to 1 MiB.
func TestASessionIsReadWithinBounds(t *testing.T) {
	long := strings.Repeat("x", 40)
	for _, row := range []struct{ name, content, want string }{
		{"id alone", "\x81\xa2id\xa15", "5"},
		{"as Fluent Bit writes it, with more keys", "\x83\xa4name\xa3web\xa2id\xa15\xa5token\xa1t", "5"},
		{"a map with a length of two bytes", "\xde\x00\x01\xa2id\xa15", "5"},
		{"a map with a length of four bytes", "\xdf\x00\x00\x00\x01\xa2id\xa15", "5"},
		{"a text with a length of one byte", "\x81\xa2id\xd9\x28" + long, long},
		{"a text with a length of two bytes", "\x81\xa2id\xda\x00\x28" + long, long},
		{"a text with a length of four bytes", "\x81\xa2id\xdb\x00\x00\x00\x28" + long, long},
		{"nothing", "", ""},
		{"no map", "\xa2id", ""},
		{"a map without an id", "\x81\xa4name\xa15", ""},
		{"a map that claims 4 billion pairs", "\xdf\xff\xff\xff\xff\xa2id\xa15", ""},
		{"a text that claims 4 GiB", "\x81\xa2id\xdb\xff\xff\xff\xff5", ""},
		{"a text cut short", "\x81\xa2id\xd9\x28x", ""},
		{"a length cut short", "\x81\xa2id\xdb\x00", ""},
		{"a number", "\x81\xa2id\x05", ""},
		{"nested arrays", "\x81\xa2id" + strings.Repeat("\x91", 1000), ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			raw := append(make([]byte, headerSize+2), row.content...)
			if got := SessionID(&corev1.Secret{Data: map[string][]byte{SessionKey: raw}}); got != row.want {
				t.Errorf("%q, want %q", got, row.want)
			}
		})
	}
	claims := append(make([]byte, headerSize+2), "\xdf\xff\xff\xff\xff"+strings.Repeat("\xa0", 100)...)
	allocated := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			SessionID(&corev1.Secret{Data: map[string][]byte{SessionKey: claims}})
		}
	}).AllocedBytesPerOp()
	if allocated > 4096 {
		t.Errorf("%d bytes are allocated for %d", allocated, len(claims))
	}
}

func FuzzSessionID(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte(strings.Repeat("\x00", headerSize+2) + "\x81\xa2id\xa15"))
	f.Add([]byte(strings.Repeat("\x00", headerSize) + "\xff\xff\x81\xa2id\xa15"))
	f.Add([]byte(strings.Repeat("\x00", headerSize+2) + "\xdf\xff\xff\xff\xff"))
	if golden, err := hex.DecodeString(golden); err == nil {
		f.Add(golden)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		id := SessionID(&corev1.Secret{Data: map[string][]byte{SessionKey: raw}})
		if id != "" && !bytes.Contains(raw, []byte(id)) {
			t.Errorf("%q is not in it", id)
		}
	})
}

func FuzzSessionData(f *testing.F) {
	f.Add(sessionID, "machine-1", "cloud-api.calyptia.com:443", "agent.signature")
	f.Add(sessionID, "m\n[INPUT]\n    Name exec", "h", "t")
	f.Add("", "", "", "")
	f.Add(sessionID, "on", "[::1]", strings.Repeat("t", 300))
	f.Add(sessionID, "1e3", "0", "~")
	f.Fuzz(func(t *testing.T, id, machineID, host, token string) {
		data, err := Session{ID: id, MachineID: machineID, Token: cloud.NewToken(token), URL: &url.URL{Scheme: "https", Host: host}}.Data()
		if err != nil {
			if f, ok := fault.As(err); !ok || f.Class != fault.Terminal {
				t.Fatalf("error %v", err)
			}
			return
		}
		if bytes.Count(data[ClassicKey], []byte("\n")) != 8 || bytes.ContainsAny(data[ClassicKey], "\r\"'$@#\\") {
			t.Errorf("%q", data[ClassicKey])
		}
		var read struct{ Customs []map[string]string }
		if err := yaml.UnmarshalStrict(data[YAMLKey], &read); err != nil || len(read.Customs) != 1 || read.Customs[0]["machine_id"] != machineID {
			t.Errorf("%q: %v, error %v", data[YAMLKey], read, err)
		}
		_, content, err := readChunk(data[SessionKey])
		if err != nil || content["id"] != id || content["token"] != token {
			t.Errorf("%v, error %v", content, err)
		}
		if got := SessionID(&corev1.Secret{Data: data}); got != id {
			t.Errorf("%q, want %q", got, id)
		}
	})
}

func TestTheTokenIsInTheSessionFileAlone(t *testing.T) {
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
