/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tokensecret

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

func rejection(words string, contents ...map[string][]byte) string {
	return WriteFailure(apierrors.NewBadRequest(words), "logs", func(words string) *fault.Error {
		return fault.Terminalf("Rejected", "rejected: %s", words)
	}, contents...).Message
}

// A webhook repeats the Secret as the bytes that it got, in base64, so that the token in a session is in base64 twice.
func TestWriteFailure_SecretInBase64_ShowsNoTokenOfASession(t *testing.T) {
	for before := range 3 {
		session := Session{ID: "1", Token: cloud.NewToken(strings.Repeat("q", before) + "eyJQcm9qZWN0SUQiOiI0N2E5In0.Zk39aQx7"), URL: &url.URL{}}
		content := map[string][]byte{SessionKey: session.chunk()}
		object, err := json.Marshal(map[string]any{"data": content})
		if err != nil {
			t.Fatal(err)
		}
		shown := rejection("object "+base64.StdEncoding.EncodeToString(object), content)
		if !strings.Contains(shown, cloud.Redacted) {
			t.Errorf("with %d letters before it: %s", before, shown)
		}
	}
}

// A change of an immutable Secret fails until somebody deletes it, whatever the policies are.
func TestWriteFailure_ImmutableSecret_SaysWhatToDo(t *testing.T) {
	for path, said := range map[string]string{"data": "field is immutable when `immutable` is set", "type": "field is immutable"} {
		invalid := apierrors.NewInvalid(schema.GroupKind{Kind: "Secret"}, "logs", field.ErrorList{field.Forbidden(field.NewPath(path), said)})
		failure := WriteFailure(invalid, "logs", func(words string) *fault.Error { return fault.Terminalf("Rejected", "rejected: %s", words) })
		const remedy = `Secret "logs" is immutable: delete it`
		if failure.Class != fault.Terminal || strings.HasPrefix(failure.Message, remedy) != (path == "data") {
			t.Errorf("%s: %s failure %q", path, failure.Class, failure.Message)
		}
	}
}

// However many sessions a Secret holds, what the API server says of it is shown.
func TestWriteFailure_ManySessions_KeepsTheWords(t *testing.T) {
	const said = "the label team is required"
	content := map[string][]byte{}
	for i := range 250 {
		content[fmt.Sprint("node-", i)] = []byte(fmt.Sprintf("%04d", i) + strings.Repeat("eyJQcm9qZWN0", 25))
	}
	if shown := rejection(said, content, content); shown != "rejected: "+said {
		t.Error(shown)
	}
}
