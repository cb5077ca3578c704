// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package config_test

import (
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/config"
)

func TestPolicyCache(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]config.Cache{
		"notify: true\n":                            {Certificates: config.CacheDisk, Age: 30 * day},
		"cache: {certificates: off}\n":              {Certificates: config.CacheOff, Age: 30 * day},
		"cache: {certificates: memory, days: 1}\n":  {Certificates: config.CacheMemory, Age: day},
		"cache: {certificates: disk, days: 365}\n":  {Certificates: config.CacheDisk, Age: 365 * day},
		"cache: {certificates: \"off\", days: 7}\n": {Certificates: config.CacheOff, Age: 7 * day},
	} {
		p, err := config.LoadPolicy(policyDir(t, map[string]string{"1.yaml": text}))
		if err != nil || p.Cache != want {
			t.Errorf("%s: %+v, %v, want %+v", text, p.Cache, err, want)
		}
	}
	for _, text := range []string{"cache: {certificates: yes}\n", "cache: {days: 0}\n", "cache: {days: 366}\n", "cache: {certificate: disk}\n", "cache: {certificates: []}\n"} {
		if _, err := config.LoadPolicy(policyDir(t, map[string]string{"1.yaml": text})); cardbroker.ReasonOf(err) != cardbroker.Invalid {
			t.Errorf("%s: %v, want invalid", text, err)
		}
	}
}
