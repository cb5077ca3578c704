// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardbroker_test

import (
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
)

func TestReaderPattern(t *testing.T) {
	for _, test := range []struct {
		pattern, name string
		want          bool
	}{
		{"hello", "Windows Hello for Business 1", true},
		{"HELLO", "windows hello", true},
		{"hello", "Gemalto PC Twin Reader 00 00", false},
		{"gem*reader", "Gemalto PC Twin Reader 00 00", true},
		{"reader*gem", "Gemalto PC Twin Reader 00 00", false},
		{"0? 0?", "Gemalto PC Twin Reader 00 01", true},
		{"0? 1?", "Gemalto PC Twin Reader 00 01", false},
		{"*", "anything", true},
		{"?", "", false},
		{"a*a", "a", false},
		{"ÄÖ", "Leser äö", true},
		{"a?c", "aäc", true},
		{"[a-z]", "abc", false},
	} {
		p, err := cardbroker.ParseReaderPattern(test.pattern)
		if got := p.Matches(test.name); err != nil || got != test.want {
			t.Errorf("%q matches %q: %v, %v, want %v", test.pattern, test.name, got, err, test.want)
		}
	}
	for _, bad := range []string{"", strings.Repeat("x", 65), "\xff"} {
		if _, err := cardbroker.ParseReaderPattern(bad); cardbroker.ReasonOf(err) != cardbroker.Invalid {
			t.Errorf("ParseReaderPattern(%q) = %v, want invalid", bad, err)
		}
	}
	if _, err := cardbroker.ParseReaderPattern("\xff"); err == nil || strings.Contains(err.Error(), "characters") {
		t.Errorf("ParseReaderPattern() of what is no text = %v", err)
	}
	if n := strings.Repeat("*a", 32); !cardbroker.ReaderPattern(n).Matches(strings.Repeat("a", 127)) {
		t.Error("a long pattern does not match")
	}
}
