/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"context"
	"os"
	"path/filepath"
)

// offline are the signing flags of a dry run: with a key, without a transparency log.
var offline = []string{"--use-signing-config=false", "--tlog-upload=false"}

// signAll signs the image, the charts, the checksums and the provenance. The checksums cover every other file. On GitHub the
// signatures are keyless: they name the workflow, and are in the public transparency log.
func (r *release) signAll(ctx context.Context) error {
	cosign, err := r.tool(ctx, "cosign", "cosign")
	if err != nil {
		return err
	}
	more := []string{"--yes"}
	if r.keyDir != "" {
		prefix := filepath.Join(r.keyDir, "cosign")
		if _, err := r.command(ctx, r.cosignEnv(), cosign, "generate-key-pair", "--output-key-prefix", prefix); err != nil {
			return err
		}
		more = append(append(more, "--key", filepath.Join(r.keyDir, "cosign.key")), offline...)
	}
	for _, name := range []string{checksumsFile, provenanceFile} {
		file := filepath.Join(r.out, name)
		args := append([]string{"sign-blob", "--bundle", file + signatureEnd}, more...)
		if _, err := r.command(ctx, r.cosignEnv(), cosign, append(args, file)...); err != nil {
			return err
		}
	}
	if r.plainHTTP {
		more = append(more, "--allow-insecure-registry", "--allow-http-registry")
	}
	references, err := r.references()
	if err != nil {
		return err
	}
	for _, reference := range references {
		if _, err := r.command(ctx, r.cosignEnv(), cosign, append(append([]string{"sign", "--recursive"}, more...), reference)...); err != nil {
			return err
		}
	}
	return nil
}

// cosignEnv keeps a dry run from the user's home directory and from password prompts.
func (r *release) cosignEnv() []string {
	if r.keyDir == "" {
		return nil
	}
	return []string{"COSIGN_PASSWORD=", "HOME=" + r.keyDir, "GOPATH=" + os.Getenv("GOPATH")}
}
