/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package importer

import (
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// maxLabel is the longest value of a label, and so the longest name of an AgentSet.
const maxLabel = 63

// validate finds what is wrong with the values, and names the flag. It reads the files, too. The token comes last,
// so that a wrong flag is reported to users who have no token yet.
func (o *options) validate() error {
	for _, check := range []func() error{o.checkService, o.checkObjects, o.checkOutput, o.checkFilters, o.checkToken} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (o *options) checkService() (err error) {
	policy := cloud.URLPolicy{AllowInsecureHTTP: o.allowInsecureHTTP}
	if parsed, err := url.Parse(o.url); err == nil {
		policy.AllowedHosts = []string{parsed.Hostname()} // Who may name a URL here may name its host.
	}
	if o.base, err = cloud.ParseURL(o.url, policy); err != nil {
		return fmt.Errorf("--%w", err)
	}
	switch v1alpha1.Authentication(o.authentication) {
	case v1alpha1.AuthenticationAuto, v1alpha1.AuthenticationBearer, v1alpha1.AuthenticationProjectToken:
	default:
		return errors.New("--authentication: must be Auto, Bearer or ProjectToken")
	}
	if o.caFile != "" {
		o.caBundle, err = readCertificates(o.caFile)
	}
	return err
}

// readCertificates reads the certificates of a file, and nothing else that it holds, such as a private key: they are for Git.
func readCertificates(name string) (bundle []byte, err error) {
	raw, err := readFile("--ca-file", name)
	if err != nil {
		return nil, err
	}
	for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			bundle = append(bundle, pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})...)
		}
	}
	if len(bundle) == 0 {
		return nil, errors.New("--ca-file: the file has no certificate (PEM)")
	}
	return bundle, nil
}

// checkToken finds the token and the project. Neither is repeated in an error, nor is the name of the token's
// file: a token may be there by mistake.
func (o *options) checkToken() error {
	value := []byte(o.getenv(TokenVariable))
	if o.tokenFile != "" {
		raw, err := readFile("--token-file", o.tokenFile)
		if err != nil {
			return err
		}
		value = raw
	}
	var err error
	if o.token, err = cloud.TrimToken(value); err != nil {
		return fmt.Errorf("--token-file: %w", err)
	}
	if o.token.IsZero() {
		return fmt.Errorf("--token-file: must name a file with the project token, or %s hold it", TokenVariable)
	}
	if !o.token.Usable() {
		return errors.New("--token-file: not a project token: it must be one line, as Calyptia Cloud showed it")
	}
	projectID, known := o.token.ProjectID()
	switch {
	case o.projectID != "" && !uuidPattern.MatchString(o.projectID):
		return errors.New("--project-id: must be a UUID in lower case")
	case !known && o.projectID == "":
		return errors.New("--project-id: must be set, because the token does not reveal the project")
	case known && o.projectID != "" && o.projectID != projectID:
		return fmt.Errorf("--project-id: is %s, but the token belongs to project %s: correct one of them", o.projectID, projectID)
	case known:
		o.projectID = projectID
	}
	return nil
}

func (o *options) checkObjects() error {
	if o.namespace != "" && len(validation.IsDNS1123Label(o.namespace)) > 0 {
		return errors.New("--namespace: must be the name of a namespace")
	}
	if o.agentSet != "" && (len(o.agentSet) > maxLabel || len(validation.IsDNS1123Subdomain(o.agentSet)) > 0) {
		return fmt.Errorf("--agent-set %q: must be the name of an AgentSet", o.agentSet)
	}
	if o.projectRef != "" {
		namespace, name, found := strings.Cut(o.projectRef, "/")
		if !found {
			namespace, name = "", o.projectRef
		}
		if found && len(validation.IsDNS1123Label(namespace)) > 0 || len(validation.IsDNS1123Subdomain(name)) > 0 {
			return errors.New("--project-ref: must be the name or namespace/name of a CloudProject")
		}
		if namespace == o.namespace {
			namespace = ""
		}
		o.project = &v1alpha1.CloudProjectReference{Name: name, Namespace: namespace}
	}
	switch v1alpha1.SyncPolicy(o.syncPolicy) {
	case v1alpha1.SyncObserve, v1alpha1.SyncOnChange, v1alpha1.SyncEnforce:
	default:
		return errors.New("--sync-policy: must be Observe, OnChange or Enforce")
	}
	if o.cloudProject && (o.project == nil || o.project.Namespace != "") {
		return errors.New("--cloud-project: needs --project-ref with the name of a CloudProject in the same namespace")
	}
	if len(validation.IsDNS1123Subdomain(o.tokenSecret)) > 0 {
		return errors.New("--token-secret: must be the name of a Secret")
	}
	return nil
}

func (o *options) checkOutput() error {
	switch {
	case o.configMapsAbove < 0:
		return errors.New("--config-maps-above: must not be negative")
	case o.output != "yaml" && o.output != "json":
		return errors.New("--output: must be yaml or json")
	case o.overwrite && o.outputDir == "":
		return errors.New("--overwrite: needs --output-dir")
	case o.diff && o.outputDir == "":
		return errors.New("--diff: needs --output-dir")
	case o.diff && o.overwrite:
		return errors.New("--diff: writes nothing, so it cannot be combined with --overwrite")
	case o.timeout <= 0:
		return errors.New("--timeout: must be more than zero")
	}
	return nil
}

func (o *options) checkFilters() error {
	for _, pattern := range o.names {
		if _, err := path.Match(pattern, ""); err != nil {
			return errors.New("--name: must be a name or a pattern such as 'web-*'")
		}
	}
	for _, row := range []struct {
		flag   string
		values []string
	}{{"--fleet", o.fleets}, {"--environment", o.environments}} {
		if slices.ContainsFunc(row.values, func(value string) bool { return strings.TrimSpace(value) == "" || len(value) > maxName }) {
			return fmt.Errorf("%s: must be an ID or a name", row.flag)
		}
	}
	if slices.ContainsFunc(o.except, func(id string) bool { return !isUUID(id) }) {
		return errors.New("--except: must be a UUID")
	}
	for _, kind := range o.types {
		if !knownType(kind) {
			return errors.New("--type: must be fluentbit or fluentd")
		}
	}
	return nil
}

// readFile does not repeat the path in its error.
func readFile(flag, name string) ([]byte, error) {
	raw, err := os.ReadFile(name)
	if inner, ok := errors.AsType[*os.PathError](err); ok {
		err = inner.Err
	}
	if err != nil {
		return nil, fmt.Errorf("%s: the file cannot be read: %w", flag, err)
	}
	return raw, nil
}
