/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// tokenForms makes tokens of the forms that are hidden.
func tokenForms(random *rand.Rand) map[string]string {
	raw := make([]byte, 64)
	for i := range raw {
		raw[i] = byte(random.Uint32())
	}
	id := hex.EncodeToString(raw[:4]) + "-7d1c-4b52-9c6e-" + hex.EncodeToString(raw[4:10])
	inBase64 := base64.RawURLEncoding.EncodeToString
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	alphanumeric := make([]byte, 36)
	for i := range alphanumeric {
		alphanumeric[i] = letters[random.IntN(len(letters))]
	}
	return map[string]string{
		"of an agent":           inBase64([]byte(id)) + "." + inBase64(raw[:32]),
		"of a project":          inBase64([]byte(`{"ProjectID":"`+id+`"}`)) + "." + inBase64(raw[:32]),
		"JWT":                   "eyJhbGciOiJIUzI1NiJ9." + inBase64([]byte(`{"sub":"`+id+`"}`)) + "." + inBase64(raw[:32]),
		"base64url":             inBase64(raw[:32]),
		"base64":                base64.StdEncoding.EncodeToString(raw[:32]),
		"base64 of more":        base64.StdEncoding.EncodeToString(raw),
		"alphanumeric":          string(alphanumeric),
		"with a name before it": "calyptia_agent_" + string(alphanumeric),
	}
}

// An error repeats a token that the operator does not know.
func TestClean_UnknownToken_IsHidden(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	known := secrets{}.with(NewToken("eyJQcm9qZWN0SUQiOiI4ZjZmMmYwZS03ZDFjIn0.c2lnbmF0dXJl"))
	for range 100 {
		for form, token := range tokenForms(random) {
			for _, text := range []string{
				token, "compared with agent with token " + token, "compared with " + token + ": try again", `agent {"Token":"` + token + `"}`,
				"&{ID:8f6f2f0e-7d1c-4b52-9c6e-3a4f7f0f9d11 Token:" + token + " Name:web}", "X-Agent-Token=" + token + "&x=y",
				"GET https://cloud-api.calyptia.com/v1/agents/8f6f2f0e-7d1c-4b52-9c6e-3a4f7f0f9d11/" + token + "/x",
				strings.Repeat("x ", 250) + token, strings.Repeat("long ", 250) + token, strings.Repeat(token+" ", 40),
			} {
				shown := known.clean(text, maxRemoteWords)
				for at := range len(token) - minSecretPart {
					if strings.Contains(shown, token[at:at+minSecretPart]) {
						t.Fatalf("%s %s: %q shows a part", form, token, shown)
					}
				}
			}
		}
	}
}

// The ID in a token counts for its length, but not as what can be read. Few signatures as short as these look like names.
func TestClean_TokenOfAnIDAndASignature_IsHidden(t *testing.T) {
	const id, tokens = "8f6f2f0e-7d1c-4b52-9c6e-3a4f7f0f9d11", 500
	for _, form := range []string{id + ".%s", id + "-%s", id + "_%s", id + "~%s", "%s." + id, "%s-" + id} {
		for _, text := range []string{"compared with %s: try again", "https://cloud-api.calyptia.com/v1/by-key/%s/x"} {
			random, shown := rand.New(rand.NewPCG(3, 4)), 0
			for range tokens {
				raw := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, random.Uint64()), random.Uint64())
				signature := base64.RawURLEncoding.EncodeToString(raw)
				token := fmt.Sprintf(form, signature)
				if strings.Contains(secrets{}.clean(fmt.Sprintf(text, token), maxRemoteWords), signature[:12]) {
					shown++
				}
			}
			if shown > tokens/20 {
				t.Errorf("%s: of %d tokens %d are shown", fmt.Sprintf(text, form), tokens, shown)
			}
		}
	}
}

// A token with a dot or a slash behind the path of a URL: each part of both may be read as a name, and is too short for a token.
func TestClean_TokenOfPartsInAPath_IsHidden(t *testing.T) {
	for _, token := range []string{"hKodXbFvP4df1tIhk7-LP.jHiLNgBg5n3BVWvHn4yiUw", "2hzpoq2S46VC5D/mW2Yldwts7TOmgxlRDRcYdQICnEs"} {
		const path = "the agent at https://cloud-api.calyptia.com/v1/projects/agents/by-token/"
		if shown := (secrets{}).clean(path+token+" exists", maxRemoteWords); shown != path+"[redacted] exists" {
			t.Errorf("%q is shown", shown)
		}
	}
}

// The time that a word takes grows with its length alone, not with its parts: with their square, this would take hours.
func TestFormStart_WordOfManyParts_IsReadOnce(t *testing.T) {
	for _, part := range []string{"a.", "/", "Ab1.", "a-b-c-D1/", "x"} {
		start := time.Now()
		formStart(strings.Repeat(part, 1<<20/len(part)))
		taken := time.Since(start)
		if t.Logf("%q: %v", part, taken); taken > 20*time.Second {
			t.Errorf("%q: %v", part, taken)
		}
	}
}

// What follows the word token has any form.
func TestClean_NamedToken_IsHidden(t *testing.T) {
	for _, token := range []string{"4bf92f3577b34da6a3ce929d0e0e4736", "8f6f2f0e-7d1c-4b52-9c6e-3a4f7f0f9d11", "agent-0123456789-abc"} {
		for text, want := range map[string]string{
			"invalid token " + token:                  "invalid token [redacted]",
			"invalid token: " + token + ", try again": "invalid token: [redacted], try again",
			`{"agentToken":"` + token + `"}`:          `{"agentToken":"[redacted]"}`,
			"Authorization: Bearer " + token:          "Authorization: Bearer [redacted]",
			"api_key=" + token:                        "api_key=[redacted]",
		} {
			if shown := (secrets{}).clean(text, maxRemoteWords); shown != want {
				t.Errorf("%q is shown as %q", text, shown)
			}
		}
	}
}

// The ordinary words of errors stay readable.
func TestClean_OrdinaryWords_AreShown(t *testing.T) {
	for _, text := range []string{
		"invalid token: the signature does not match", "token must be a project-token-of-the-form-base64url", "agents quota exceeded",
		"update agent raw config forbidden", `duplicate key value violates unique constraint "agents_project_id_machine_id_key2"`,
		"agent 8f6f2f0e-7d1c-4b52-9c6e-3a4f7f0f9d11 not found", "agent 8F6F2F0E-7D1C-4B52-9C6E-3A4F7F0F9D11 not found",
		"no token for agent-8F6F2F0E-7D1C-4B52-9C6E-3A4F7F0F9D11-x",
		"machine ID 4bf92f3577b34da6a3ce929d0e0e4736 is taken", "machine ID " + strings.Repeat("0123456789abcdef", 4) + " is taken",
		"unsupported agent version v1.9.10-rc.1+build.20260504T030201Z", "since 2026-05-04T03:02:01.123456789+02:00",
		"GET https://cloud-api.calyptia.com/v1/projects/8f6f2f0e-7d1c-4b52-9c6e-3a4f7f0f9d11/agents?last=100 failed",
		"see https://docs.calyptia.com/Reference/API/v1/Errors/InvalidAgentRawConfig#details",
		"invalid agent name web-7d9c5b8f6d-x2x9q.production-namespace-1.svc.cluster.local", "invalid agent name DESKTOP-7H3K2LQ.corp.example.com",
		"invalid agent name Web-Frontend-Production-Server-01-EU-West", "invalid agent name MYHOST01-EU-WEST-1-PROD-KUBERNETES-Node",
		"host a0123456789abcdef0123456789abcdef-1234567890.us-east-1.elb.amazonaws.com not found",
		"InvalidAgentRawConfigVersionV2Exception", "UpdateAgentRawConfigForbiddenByProjectTokenError", "com.calyptia.cloud.agents.v1.RegisterAgentRequest2Validator failed",
		"github.com/calyptia/cloud/v2/internal/postgres.(*AgentStore).CreateAgent2", "image ghcr.io/calyptia/core@sha256:" + strings.Repeat("0a1b", 16),
		"Root=1-67891233-abcdef012345678912345678", "raw config line 3: /Fluent-Bit/etc/Parsers_Multiline_Kubernetes2.conf",
		"spec.rawConfigFrom.configMapKeyRef.name is required", "invalid spec/template/spec/rawConfigFrom/configMapKeyRef/name",
		"the secret is wrong", "password authentication failed", `secret "web-credentials-production" not found`,
	} {
		if shown := (secrets{}).clean(text, maxRemoteWords); shown != text {
			t.Errorf("%q is shown as %q", text, shown)
		}
	}
}
