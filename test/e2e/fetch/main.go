/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Command fetch reads a URL in a pod of a test, and prints the status and the body. It accepts self-signed certificates.
package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

func main() {
	file := flag.String("token-file", "", "file with a bearer token")
	token := flag.String("token", "", "bearer token")
	flag.Parse()
	if err := fetch(flag.Arg(0), *file, *token); err != nil {
		fmt.Fprintln(os.Stderr, "fetch:", err)
		os.Exit(1)
	}
}

func fetch(url, file, token string) error {
	if file != "" {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		token = string(content)
	}
	request, err := http.NewRequest(http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := fmt.Fprintln(os.Stdout, response.StatusCode); err != nil {
		return err
	}
	_, err = io.Copy(os.Stdout, response.Body)
	return err
}
