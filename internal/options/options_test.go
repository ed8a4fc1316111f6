/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package options

import "testing"

func TestHostsThatMayBeAllowed(t *testing.T) {
	for host, want := range map[string]bool{
		"cloud-api.calyptia.com":     true,
		"cloud-api.calyptia.com:443": true,
		".calyptia.com":              true,
		".calyptia.com:8443":         true,
		"localhost":                  true,
		"localhost:5000":             true,
		"127.0.0.1":                  true,
		"127.0.0.1:5000":             true,
		"::1":                        true,
		"[::1]":                      true,
		"[::1]:5000":                 true,
		"":                           false,
		".":                          false,
		":443":                       false,
		"..calyptia.com":             false,
		"*.calyptia.com":             false,
		"calyptia.com:":              false,
		"calyptia.com.":              false,
		"calyptia..com":              false,
		"-calyptia.com":              false,
		"calyptia.com/path":          false,
		"https://calyptia.com":       false,
		"user@calyptia.com":          false,
		" calyptia.com":              false,
		"calyptia.com:443:443":       false,
		"calyptia_com":               false,
	} {
		t.Run(host, func(t *testing.T) {
			if got := validHost(host); got != want {
				t.Errorf("%v, want %v", got, want)
			}
		})
	}
}
