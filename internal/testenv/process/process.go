/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package process runs programs beside a test, the demo or the benchmark: each in a separate process group, so that
// Ctrl-C does not end it before Stop does, and none longer than this process.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// Child is a started program.
type Child struct {
	// Command that was started. Its ProcessState is set once Done is closed.
	Command *exec.Cmd
	done    chan struct{}
}

// Start starts the command. The closers, such as its log, are closed when it ends.
func Start(command *exec.Cmd, closers ...io.Closer) (*Child, error) {
	c := &Child{Command: command, done: make(chan struct{})}
	command.SysProcAttr = Attributes()
	started := make(chan error, 1)
	go func() {
		defer close(c.done)
		for _, closer := range closers {
			defer func() { _ = closer.Close() }()
		}
		// A child that ends with its parent ends with the thread that started it: keep this thread.
		runtime.LockOSThread()
		err := command.Start()
		started <- err
		if err == nil {
			_ = command.Wait()
		}
	}()
	return c, <-started
}

// Done is closed when the program has ended.
func (c *Child) Done() <-chan struct{} { return c.done }

// Ended reports whether the program has ended, however.
func (c *Child) Ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// Kill ends the program by SIGKILL and waits for its end.
func (c *Child) Kill() {
	_ = c.Command.Process.Kill()
	<-c.done
}

// Stop asks the program to end and waits for it; it kills a program that does not end in time.
func (c *Child) Stop(patience time.Duration) {
	_ = c.Command.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.done:
	case <-time.After(patience):
		c.Kill()
	}
}

// FreePort returns an unused port outside the range of ephemeral ports: an outgoing connection could take one of those
// before the program listens, or while it restarts. No other process gets it from this function until this one ends.
func FreePort(address string) (int, error) {
	const lowest, count, tries = 20000, 10000, 100
	var last error
	for range tries {
		port := lowest + rand.IntN(count)
		listener, err := net.Listen("tcp", net.JoinHostPort(address, strconv.Itoa(port)))
		if last = err; err != nil {
			continue
		}
		if last = errors.Join(listener.Close(), reserve(port)); last == nil {
			return port, nil
		}
	}
	return 0, fmt.Errorf("no free port at %s: %w", address, last)
}

// reserved are the locks of this process, which end with it.
var reserved struct {
	sync.Mutex
	locks []*os.File
}

// reserve fails if another process, or this one, has reserved a port.
func reserve(port int) error {
	dir := filepath.Join(os.TempDir(), "operator-test-ports")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(dir, strconv.Itoa(port)), os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return errors.Join(err, lock.Close())
	}
	reserved.Lock()
	defer reserved.Unlock()
	reserved.locks = append(reserved.locks, lock)
	return nil
}

// FreeAddress returns a FreePort of the loopback, as host:port.
func FreeAddress() (string, error) {
	const loopback = "127.0.0.1"
	port, err := FreePort(loopback)
	return net.JoinHostPort(loopback, strconv.Itoa(port)), err
}

// WaitReady waits until the operator is ready by its probes at this address.
func WaitReady(ctx context.Context, probes string, patience time.Duration) error {
	last := error(nil)
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		var body string
		if body, last = get(ctx, "http://"+probes+"/readyz"); last == nil && strings.TrimSpace(body) != "ok" {
			last = fmt.Errorf("it returned %q", body)
		}
		return last == nil, nil
	})
	if err != nil && last != nil {
		return fmt.Errorf("the operator is not ready: %w", last)
	}
	return err
}

func get(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	return string(body), err
}
