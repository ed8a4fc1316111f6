/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	checksumsFile  = "SHA256SUMS"
	provenanceFile = "provenance.intoto.json"
	signatureEnd   = ".sigstore.json"
)

// artifacts are the files of the release, without those that describe other files.
func (r *release) artifacts() ([]string, error) {
	entries, err := os.ReadDir(r.out)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		if name := entry.Name(); name != checksumsFile && name != provenanceFile && !strings.HasSuffix(name, signatureEnd) {
			names = append(names, name)
		}
	}
	return names, nil
}

func (r *release) sum(name string) (string, error) {
	content, err := os.ReadFile(filepath.Join(r.out, name))
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:]), nil
}

// writeChecksums writes a line for each file, as sha256sum reads them.
func (r *release) writeChecksums(context.Context) error {
	names, err := r.artifacts()
	if err != nil {
		return err
	}
	var lines strings.Builder
	for _, name := range names {
		sum, err := r.sum(name)
		if err != nil {
			return err
		}
		lines.WriteString(sum + "  " + name + "\n")
	}
	return os.WriteFile(filepath.Join(r.out, checksumsFile), []byte(lines.String()), 0o644)
}

type digests map[string]string

// subject is the subject of a statement.
type subject struct {
	Name   string  `json:"name"`
	Digest digests `json:"digest"`
}

// statement is SLSA provenance, version 1, in an in-toto statement.
type statement struct {
	Type          string    `json:"_type"`
	Subject       []subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     predicate `json:"predicate"`
}

type predicate struct {
	BuildDefinition struct {
		BuildType            string            `json:"buildType"`
		ExternalParameters   map[string]string `json:"externalParameters"`
		ResolvedDependencies []dependency      `json:"resolvedDependencies"`
	} `json:"buildDefinition"`
	RunDetails struct {
		Builder struct {
			ID string `json:"id"`
		} `json:"builder"`
	} `json:"runDetails"`
}

type dependency struct {
	URI    string  `json:"uri"`
	Digest digests `json:"digest"`
}

// writeProvenance records the commit that each file and the image were made from. On GitHub the workflow also has GitHub attest it.
func (r *release) writeProvenance(context.Context) error {
	names, err := r.artifacts()
	if err != nil {
		return err
	}
	s := statement{Type: "https://in-toto.io/Statement/v1", PredicateType: "https://slsa.dev/provenance/v1"}
	for _, name := range slices.Concat(names, []string{checksumsFile}) {
		sum, err := r.sum(name)
		if err != nil {
			return err
		}
		s.Subject = append(s.Subject, subject{Name: name, Digest: digests{"sha256": sum}})
	}
	s.Subject = append(s.Subject, subject{Name: r.image(), Digest: digests{"sha256": strings.TrimPrefix(r.digest, "sha256:")}})
	definition := &s.Predicate.BuildDefinition
	definition.BuildType = "https://" + module + "/blob/main/docs/releasing.md"
	definition.ExternalParameters = map[string]string{"version": r.version, "platforms": strings.Join(r.platforms, ",")}
	definition.ResolvedDependencies = []dependency{{
		URI: "git+https://" + module + "@refs/tags/" + r.version, Digest: digests{"gitCommit": r.commit},
	}}
	s.Predicate.RunDetails.Builder.ID = builder()
	encoded, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.out, provenanceFile), append(encoded, '\n'), 0o644)
}

// builder is the workflow that runs this, or else this program.
func builder() string {
	if ref := os.Getenv("GITHUB_WORKFLOW_REF"); ref != "" {
		return os.Getenv("GITHUB_SERVER_URL") + "/" + ref
	}
	return "https://" + module + "/tree/main/hack/release"
}
