// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package tenant_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/broker/tenant"
)

func writeTokens(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
	return path
}

func TestReadTokens(t *testing.T) {
	good := "# issuers\n\nissuer  0123456789abcdef\n\tissuer another-long-token\nrival fedcba9876543210\n"
	if _, err := tenant.ReadTokens(writeTokens(t, good, 0o600)); err != nil {
		t.Errorf("ReadTokens(good) = %v", err)
	}
	for name, c := range map[string]struct{ text, want string }{
		"no token":        {"issuer\n", "line 1 has 1 fields"},
		"too many fields": {"# c\nissuer 0123456789abcdef x\n", "line 2 has 3 fields"},
		"short token":     {"issuer 0123456789abcde\n", "line 1: the token has under 16"},
		"bad tenant":      {"is/suer 0123456789abcdef\n", "line 1"},
		"two tenants":     {"a 0123456789abcdef\nb 0123456789abcdef\n", "line 2: the token is already a's"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tenant.ReadTokens(writeTokens(t, c.text, 0o600))
			if cardbroker.ReasonOf(err) != cardbroker.Invalid || !strings.Contains(err.Error(), c.want) {
				t.Errorf("ReadTokens(%q) = %v, want %q", c.text, err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "0123456789") {
				t.Errorf("ReadTokens(%q) shows the token: %v", c.text, err)
			}
		})
	}
}

func TestReadTokensWantsAPrivateFile(t *testing.T) {
	for _, mode := range []os.FileMode{0o644, 0o640, 0o604, 0o620} {
		_, err := tenant.ReadTokens(writeTokens(t, "issuer 0123456789abcdef\n", mode))
		if cardbroker.ReasonOf(err) != cardbroker.Invalid || !strings.Contains(err.Error(), "chmod 0600") {
			t.Errorf("ReadTokens(mode %04o) = %v, want a refusal that says what to do", mode, err)
		}
	}
	if _, err := tenant.ReadTokens(filepath.Join(t.TempDir(), "none")); cardbroker.ReasonOf(err) != cardbroker.Invalid {
		t.Errorf("ReadTokens(missing) = %v, want invalid", err)
	}
}
