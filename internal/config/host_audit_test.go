// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/config"
)

func TestAuditSize(t *testing.T) {
	for text, want := range map[string]int64{"": 4 << 30, "16MiB": 16 << 20, "100GiB": 100 << 30, "16TiB": 16 << 40} {
		if got, err := (config.Audit{MaxSize: text}).Bytes(); err != nil || got != want {
			t.Errorf("Bytes(%q) = %d, %v, want %d", text, got, err, want)
		}
		if _, err := config.LoadHost(write(t, "audit: {max_size: "+text+"}\n"), config.Host{}); err != nil {
			t.Errorf("LoadHost with %q: %v", text, err)
		}
	}
	for _, text := range []string{"4", "4GB", "15MiB", "-1GiB", "17TiB", "GiB", "1.5GiB", "99999999999TiB"} {
		if got, err := (config.Audit{MaxSize: text}).Bytes(); cardbroker.ReasonOf(err) != cardbroker.Invalid {
			t.Errorf("Bytes(%q) = %d, %v, want invalid", text, got, err)
		}
		if _, err := config.LoadHost(write(t, "audit: {max_size: "+text+"}\n"), config.Host{}); cardbroker.ReasonOf(err) != cardbroker.Invalid {
			t.Errorf("LoadHost with %q = %v, want invalid", text, err)
		}
	}
}
