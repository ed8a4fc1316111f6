/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// script is a fake program of a control plane that runs on every platform.
const script = "#!/bin/sh\necho Kubernetes v1.36.2\n"

type entry struct {
	name, content string
	kind          byte
}

// official are the entries of a published archive.
var official = []entry{
	{name: "controller-tools/envtest/", kind: tar.TypeDir},
	{name: "controller-tools/envtest/etcd", content: script},
	{name: "controller-tools/envtest/kube-apiserver", content: script},
	{name: "controller-tools/envtest/kubectl", content: script},
}

func pack(t *testing.T, entries []entry) []byte {
	t.Helper()
	var packed bytes.Buffer
	compressed := gzip.NewWriter(&packed)
	out := tar.NewWriter(compressed)
	for _, e := range entries {
		header := &tar.Header{Name: e.name, Mode: 0o755, Size: int64(len(e.content)), Typeflag: e.kind}
		if e.kind == tar.TypeSymlink {
			header.Linkname = "/bin/sh"
		}
		noError(t, out.WriteHeader(header))
		_, err := io.WriteString(out, e.content)
		noError(t, err)
	}
	noError(t, errors.Join(out.Close(), compressed.Close()))
	return packed.Bytes()
}

func checksum(content []byte) string {
	sum := sha512.Sum512(content)
	return hex.EncodeToString(sum[:])
}

// serve starts a host on loopback with the pinned archive.
func serve(t *testing.T, content []byte, handler http.HandlerFunc) archive {
	t.Helper()
	host := httptest.NewServer(handler)
	t.Cleanup(func() { host.CloseClientConnections(); host.Close() })
	return archive{URL: host.URL + "/envtest.tar.gz", SHA512: checksum(content)}
}

func plainly(content []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) }
}

// impatient is a downloader for reachable hosts, with short limits.
func impatient() *downloader {
	return &downloader{
		client: http.DefaultClient, respond: 10 * time.Second, stall: 10 * time.Second,
		longest: time.Minute, measured: 0, arrived: func(int64, int64) {},
	}
}

func TestAnArchiveIsInstalledWholeOrNotAtAll(t *testing.T) {
	good := pack(t, official)
	sized := func(w http.ResponseWriter, size int) {
		w.Header().Set("Content-Length", strconv.Itoa(size))
		w.WriteHeader(http.StatusOK)
	}
	flush := func(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() } // The client may have disconnected.
	for _, row := range []struct {
		name    string
		content []byte // whose checksum is pinned
		handler http.HandlerFunc
		patient func(*downloader)
		want    string // words of the error; empty: it is installed
	}{
		{name: "as published", content: good, handler: plainly(good)},
		{name: "behind a redirect, as on GitHub", content: good, handler: func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/elsewhere" {
				http.Redirect(w, r, "/elsewhere", http.StatusFound)
				return
			}
			_, _ = w.Write(good)
		}},
		{name: "another checksum", content: append(bytes.Clone(good), 0), handler: plainly(good), want: "SHA-512"},
		{name: "one bit changed", content: good, handler: plainly(flipped(good)), want: "SHA-512"},
		{name: "a longer file that begins the same", content: good, handler: plainly(append(bytes.Clone(good), 0)), want: "SHA-512"},
		{name: "truncated on the way", content: good, handler: func(w http.ResponseWriter, _ *http.Request) {
			sized(w, len(good))
			_, _ = w.Write(good[:len(good)/2])
		}, want: "unexpected EOF"},
		{name: "truncated without a length", content: good, handler: plainly(good[:len(good)/2]), want: "SHA-512"},
		{name: "empty", content: good, handler: plainly(nil), want: "SHA-512"},
		{name: "pinned, but truncated", content: good[:len(good)/2], handler: plainly(good[:len(good)/2]), want: "unexpected EOF"},
		{name: "pinned, but no archive", content: []byte("hello"), handler: plainly([]byte("hello")), want: "EOF"},
		{name: "not found", content: good, handler: http.NotFound, want: "404 Not Found"},
		{name: "a page in its place", content: good, handler: plainly([]byte("<html>Log in</html>")), want: "SHA-512"},
		{name: "no response", content: good, handler: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
			patient: func(d *downloader) { d.respond = 20 * time.Millisecond }, want: errNoResponse.Error()},
		{name: "a response that stalls", content: good, handler: func(w http.ResponseWriter, r *http.Request) {
			sized(w, len(good))
			_, _ = w.Write(good[:len(good)/2])
			flush(w)
			<-r.Context().Done()
		}, patient: func(d *downloader) { d.stall = 20 * time.Millisecond }, want: errStalled.Error()},
		{name: "so slow that a build is faster", content: good, handler: func(w http.ResponseWriter, r *http.Request) {
			sized(w, 1<<40)
			_, _ = w.Write(good)
			flush(w)
			<-r.Context().Done()
		}, patient: func(d *downloader) { d.longest = time.Millisecond }, want: errSlow.Error()},
		{name: "slow without a length", content: good, handler: func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = w.Write([]byte{0})
				flush(w)
			}
		}, patient: func(d *downloader) { d.longest = 20 * time.Millisecond }, want: errSlow.Error()},
		{name: "without an API server", content: pack(t, official[:2]), handler: plainly(pack(t, official[:2])), want: "lacks"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			from := impatient()
			if row.patient != nil {
				row.patient(from)
			}
			expectInstall(t, serve(t, row.content, row.handler), from, row.want)
		})
	}
}

func flipped(content []byte) []byte {
	content = bytes.Clone(content)
	content[len(content)/2] ^= 1
	return content
}

// expectInstall installs, and expects the programs, or an error with this text and nothing left behind.
func expectInstall(t *testing.T, pinned archive, from *downloader, want string) {
	t.Helper()
	parent := filepath.Join(t.TempDir(), "controlplane")
	dir := filepath.Join(parent, "official")
	err := pinned.install(t.Context(), from, dir)
	if want == "" {
		noError(t, err)
		if missing := inDir(dir).missing(); strings.Join(missing, " ") != manager {
			t.Errorf("missing are %v, want %s alone", missing, manager)
		}
	} else if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the error is %v, want one that says %q", err, want)
	}
	entries, err := os.ReadDir(parent)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if want != "" || entry.Name() != "official" {
			t.Errorf("it left %s behind", entry.Name())
		}
	}
}

func TestADeadHostIsReportedAtOnce(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	noError(t, err)
	url := "http://" + listener.Addr().String() + "/envtest.tar.gz"
	noError(t, listener.Close())
	expectInstall(t, archive{URL: url}, impatient(), "connection refused")
}

func TestCtrlCEndsADownload(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	pinned := serve(t, nil, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	if err := pinned.install(ctx, impatient(), filepath.Join(t.TempDir(), "official")); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v, want %v", err, context.Canceled)
	}
}

// Even a pinned archive writes only programs, and only to its directory.
func TestOnlyTheProgramsAreUnpacked(t *testing.T) {
	for _, row := range []struct {
		name    string
		entries []entry
		want    string
	}{
		{"a way out of the directory", append([]entry{{name: "../../escaped", content: script}, {name: "../../../etcd", content: script}},
			official[2:]...), ""},
		{"an absolute path", append([]entry{{name: "/tmp/etcd", content: script}}, official[2:]...), ""},
		{"a link in place of a program", append([]entry{{name: "a/etcd", kind: tar.TypeSymlink}}, official[2:]...), "lacks"},
		{"a program twice", append([]entry{{name: "first/etcd", content: script}}, official...), "exists"},
	} {
		t.Run(row.name, func(t *testing.T) {
			content := pack(t, row.entries)
			expectInstall(t, serve(t, content, plainly(content)), impatient(), row.want)
		})
	}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
