/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package charts_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/testenv/await"
)

// readMetrics checks that a reader gets the metrics and a stranger does not.
func (l *life) readMetrics(ctx context.Context) error {
	get := func(token string) (int, string, error) { return l.scrape(ctx, token) }
	var status int
	var body string
	// The endpoint is opened concurrently, possibly last.
	err := await.Until(ctx, "the metrics are not served", func(context.Context) (err error) {
		status, body, err = get(l.reader)
		return err
	})
	if err != nil || status != http.StatusOK || !strings.Contains(body, "controller_runtime_reconcile_total") {
		return fmt.Errorf("a reader gets %d, %d bytes, %w", status, len(body), err)
	}
	if status, _, err := get(l.stranger); err != nil || status != http.StatusForbidden {
		return fmt.Errorf("a stranger gets %d, %w", status, err)
	}
	return nil
}

// scrape reads the metrics with a token.
func (l *life) scrape(ctx context.Context, token string) (int, string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, l.metrics, nil)
	if err != nil {
		return 0, "", err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	// The operator signs its own certificate.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}
