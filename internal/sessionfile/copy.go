/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package sessionfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"k8s.io/utils/ptr"
)

const (
	// interval is the pause between two looks at the directory.
	interval = time.Second
	// reminder is how often the command says what it waits for.
	reminder = 15 * time.Second
	// largest is the most that a file of a Secret can hold.
	largest = 1 << 20
)

// file is one file to copy, from and to the directories of the command.
type file struct {
	from, to string
	content  []byte
	required bool
}

// files are what Fluent Bit needs: its session, and the sections of its configuration.
func (o *options) files() []file {
	prefix, f := "", o.format
	if o.key != "" {
		prefix = f.Slot(o.key) + "."
	}
	return []file{
		{from: prefix + f.Session, to: filepath.Join("calyptia", f.Session), required: true},
		{from: prefix + f.YAML, to: f.YAML},
		{from: prefix + f.Classic, to: f.Classic},
	}
}

// run waits for the session and copies it.
func (o *options) run(ctx context.Context, out io.Writer) error {
	files := o.files()
	if err := o.await(ctx, out, files); err != nil {
		return err
	}
	for _, f := range files {
		if f.content == nil {
			continue
		}
		if err := write(filepath.Join(o.to, f.to), f.content); err != nil {
			return fmt.Errorf("the session cannot be stored: %w", err)
		}
	}
	_, _ = fmt.Fprintf(out, "copied the session to %s\n", filepath.Join(o.to, files[0].to))
	return nil
}

// await reads the files as soon as the session is there.
func (o *options) await(ctx context.Context, out io.Writer, files []file) error {
	begun := o.clock.Now()
	var said *time.Time
	for {
		err := o.read(files)
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		path := filepath.Join(o.from, files[0].from)
		now := o.clock.Now()
		if now.Sub(begun) >= o.wait {
			return fmt.Errorf("%s did not come within %s: see the conditions of the Agent or AgentSet, and whether the Secret is mounted there",
				path, o.wait)
		}
		if said == nil || now.Sub(*said) >= reminder {
			said = ptr.To(now)
			_, _ = fmt.Fprintf(out, "waiting for %s: the operator stores it once the agent is registered\n", path)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("stopped while waiting for %s", path)
		case <-o.clock.After(interval):
		}
	}
}

// read reads and checks the files. fs.ErrNotExist says that the session is not there yet.
func (o *options) read(files []file) error {
	for i := range files {
		content, err := readBounded(filepath.Join(o.from, files[i].from))
		switch {
		case errors.Is(err, fs.ErrNotExist) && !files[i].required:
			continue
		case errors.Is(err, fs.ErrNotExist):
			return err
		case err != nil:
			return fmt.Errorf("the session cannot be read: %w", err)
		}
		files[i].content = content
	}
	if !o.format.Valid(files[0].content) {
		return fmt.Errorf("%s is no session of Fluent Bit: delete the Secret, and the operator writes it again", files[0].from)
	}
	return nil
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, largest+1))
	if err == nil && len(content) > largest {
		err = fmt.Errorf("%s is larger than %d bytes", path, largest)
	}
	return content, err
}

// write replaces a file as a whole: a Fluent Bit that starts meanwhile reads the former or the new one.
func write(path string, content []byte) error {
	const directory, secret = 0o700, 0o600
	if err := os.MkdirAll(filepath.Dir(path), directory); err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), ".session-*")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	_, err = temporary.Write(content)
	if err = errors.Join(err, temporary.Chmod(secret), temporary.Close()); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}
