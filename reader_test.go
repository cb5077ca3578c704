// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardbroker_test

import (
	"regexp"
	"testing"

	"github.com/cardbroker/cardbroker"
)

// Ids are pinned: pages and back ends keep them, so they must survive an upgrade.
func TestReaderIDIsStable(t *testing.T) {
	agent := cardbroker.NewSecret([]byte("0123456789abcdef0123456789abcdef"))
	local := cardbroker.NewReaderID(agent, "Example Reader 00 00")
	if want := cardbroker.ReaderID("ae1790db5efddeae"); local != want {
		t.Errorf("NewReaderID() = %q, want %q", local, want)
	}
	if got, want := local.ForTenant(agent, "hr"), cardbroker.ReaderID("2706ba6cea2a656c"); got != want {
		t.Errorf("ForTenant() = %q, want %q", got, want)
	}
}

// Whoever sees one id of a reader must not know it again under another.
func TestReaderIDsDiffer(t *testing.T) {
	a, b := cardbroker.RandomSecret(), cardbroker.RandomSecret()
	reader := cardbroker.NewReaderID(a, "reader")
	ids := map[string]cardbroker.ReaderID{
		"local":                  reader,
		"another name":           cardbroker.NewReaderID(a, "reader "),
		"another agent":          cardbroker.NewReaderID(b, "reader"),
		"tenant":                 reader.ForTenant(a, "hr"),
		"another tenant":         reader.ForTenant(a, "pki"),
		"tenant, another agent":  reader.ForTenant(b, "hr"),
		"tenant, another reader": cardbroker.NewReaderID(a, "reader ").ForTenant(a, "hr"),
		"a name like a tenant's": cardbroker.NewReaderID(a, "hr\x00"+string(reader)),
	}
	digits := regexp.MustCompile(`^[0-9a-f]{16}$`)
	seen := make(map[cardbroker.ReaderID]string)
	for name, id := range ids {
		if !digits.MatchString(string(id)) {
			t.Errorf("%s: %q, want 16 hexadecimal digits", name, id)
		}
		if other, ok := seen[id]; ok {
			t.Errorf("%s and %s have one id", name, other)
		}
		seen[id] = name
	}
}

func TestProtocolString(t *testing.T) {
	tests := map[cardbroker.Protocol]string{cardbroker.ProtocolT0: "T0", cardbroker.ProtocolT1: "T1", cardbroker.ProtocolUndefined: "", 4: ""}
	for p, want := range tests {
		if got := p.String(); got != want {
			t.Errorf("Protocol(%d).String() = %q, want %q", p, got, want)
		}
	}
}
