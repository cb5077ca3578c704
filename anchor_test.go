// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardbroker_test

import (
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
)

func TestAnchor(t *testing.T) {
	want := cardbroker.Anchor{Seq: 7, Hash: [32]byte{1, 31: 255}}
	hash := "01" + strings.Repeat("00", 30) + "ff"
	for _, line := range []string{
		want.String(),
		"Aug  1 12:00:00 vda17 cardbroker[812]: " + want.String(),
		`{"MESSAGE":"` + want.String() + `"}`,
	} {
		if got, ok := cardbroker.FindAnchor(line); !ok || got != want {
			t.Errorf("FindAnchor(%q) = %v, %v, want %v", line, got, ok, want)
		}
	}
	if got, err := cardbroker.ParseAnchor("7:" + hash); err != nil || got != want {
		t.Errorf("ParseAnchor = %v, %v, want %v", got, err, want)
	}
	for _, text := range []string{"", "7", "7:", ":" + hash, "7:" + hash[1:], "7:" + hash + "0", "-7:" + hash, "x:" + hash, "18446744073709551615:" + hash} {
		if got, err := cardbroker.ParseAnchor(text); cardbroker.ReasonOf(err) != cardbroker.Invalid {
			t.Errorf("ParseAnchor(%q) = %v, %v, want invalid", text, got, err)
		}
	}
	for _, line := range []string{"", "cardbroker audit head", "cardbroker audit head seq=", "cardbroker audit head seq=7 hash=" + hash[1:], "audit head seq=7 hash=" + hash} {
		if got, ok := cardbroker.FindAnchor(line); ok {
			t.Errorf("FindAnchor(%q) = %v, want none", line, got)
		}
	}
}
