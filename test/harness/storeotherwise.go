/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package harness

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
)

// StoreWithout has the API server accept what the operator writes to the Secret of a name, and not store the keys that end like this, as
// with a policy or webhook of the cluster that changes objects, until Around is set again.
func (p *Proxy) StoreWithout(name, key string) {
	p.StoreOtherwise(name, func(data map[string][]byte) {
		maps.DeleteFunc(data, func(have string, _ []byte) bool { return strings.HasSuffix(have, key) })
	})
}

// StoreOtherwise is StoreWithout with any change of the data.
func (p *Proxy) StoreOtherwise(name string, change func(data map[string][]byte)) {
	p.Rewrite(func(r *http.Request) bool {
		writes := r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch
		return writes && (strings.HasSuffix(r.URL.Path, "/secrets") || strings.HasSuffix(r.URL.Path, "/secrets/"+name))
	}, func(body []byte) ([]byte, error) {
		if json.Valid(body) {
			return patchOtherwise(body, change)
		}
		serializer := protobuf.NewSerializer(clientgoscheme.Scheme, clientgoscheme.Scheme)
		object, _, err := serializer.Decode(body, nil, nil)
		if secret, ok := object.(*corev1.Secret); ok && secret.Name == name {
			change(secret.Data)
			var changed bytes.Buffer
			err = serializer.Encode(secret, &changed)
			body = changed.Bytes()
		}
		return body, err
	})
}

// patchOtherwise changes the data of a patch.
func patchOtherwise(body []byte, change func(data map[string][]byte)) ([]byte, error) {
	var patch map[string]json.RawMessage
	data := map[string][]byte{}
	err := json.Unmarshal(body, &patch)
	if err == nil && patch["data"] != nil {
		if err = json.Unmarshal(patch["data"], &data); err == nil {
			change(data)
			patch["data"], err = json.Marshal(data)
		}
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(patch)
}
