/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// downloader downloads from a host that may be unreachable.
type downloader struct {
	client *http.Client
	// respond is how long the host may take to respond, and stall how long it may pause.
	respond, stall time.Duration
	// longest is about the time of a build: a download that would take longer is canceled, once measured has passed.
	longest, measured time.Duration
	// arrived is called with the number of received bytes and the total, or 0 if that is unknown.
	arrived func(got, all int64)
}

func newDownloader(arrived func(got, all int64)) *downloader {
	return &downloader{
		client: http.DefaultClient, respond: 5 * time.Second, stall: 10 * time.Second,
		longest: 3 * time.Minute, measured: 5 * time.Second, arrived: arrived,
	}
}

var (
	errNoResponse = errors.New("the host does not respond")
	errStalled    = errors.New("the host stopped sending")
	errSlow       = errors.New("the host is too slow")
)

// download is a response whose body arrives within the limits of the downloader. It has to be closed.
type download struct {
	*downloader
	cause    func() error
	cancel   context.CancelCauseFunc
	watchdog *time.Timer
	body     io.ReadCloser
	got, all int64
	began    time.Time
}

// open sends the request and returns once the host has responded.
func (d *downloader) open(ctx context.Context, address string) (*download, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	result := &download{downloader: d, cancel: cancel, cause: func() error { return context.Cause(ctx) }}
	slow := time.AfterFunc(d.respond, func() { cancel(errNoResponse) })
	defer slow.Stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	response, err := d.client.Do(request)
	if failed := (*url.Error)(nil); errors.As(err, &failed) {
		err = failed.Err // The caller names the address.
	}
	if err != nil {
		err = result.because(err)
		cancel(nil)
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		cancel(nil)
		return nil, errors.Join(fmt.Errorf("the host responds %s", response.Status), response.Body.Close())
	}
	result.watchdog = time.AfterFunc(d.stall, func() { cancel(errStalled) })
	result.body, result.all, result.began = response.Body, max(response.ContentLength, 0), time.Now()
	return result, nil
}

// because returns the cause if the request was canceled, otherwise the error.
func (d *download) because(err error) error {
	if cause := d.cause(); cause != nil {
		return cause
	}
	return err
}

// Read implements io.Reader.
func (d *download) Read(into []byte) (int, error) {
	n, err := d.body.Read(into)
	d.got += int64(n)
	d.arrived(d.got, d.all)
	switch {
	case errors.Is(err, io.EOF):
		return n, err
	case err != nil:
		return n, d.because(err)
	case d.tooSlow():
		return n, errSlow
	}
	d.watchdog.Reset(d.stall)
	return n, nil
}

// tooSlow reports whether a build would probably finish earlier.
func (d *download) tooSlow() bool {
	took := time.Since(d.began)
	if took < d.measured {
		return false
	}
	if d.all == 0 {
		return took > d.longest
	}
	left := float64(d.all-d.got) / float64(max(d.got, 1)) * float64(took)
	return left > float64(d.longest)
}

// Close ends the download.
func (d *download) Close() error {
	d.watchdog.Stop()
	d.cancel(nil)
	return d.body.Close()
}
