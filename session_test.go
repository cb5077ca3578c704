// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardbroker_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
)

func TestUserIDString(t *testing.T) {
	tests := []struct {
		user cardbroker.UserID
		want string
	}{
		{cardbroker.UserID{}, "0"},
		{cardbroker.UserID{UID: 4294967295}, "4294967295"},
		{cardbroker.UserID{SID: "S-1-5-18"}, "S-1-5-18"},
	}
	for _, tt := range tests {
		if got := tt.user.String(); got != tt.want {
			t.Errorf("%#v.String() = %q, want %q", tt.user, got, tt.want)
		}
	}
}

func TestParseNames(t *testing.T) {
	session := func(s string) (string, error) { id, err := cardbroker.ParseSessionID(s); return string(id), err }
	tenant := func(s string) (string, error) { name, err := cardbroker.ParseTenant(s); return string(name), err }
	tests := []struct {
		name  string
		parse func(string) (string, error)
		text  string
		ok    bool
	}{
		{"logind session", session, "c7", true},
		{"uid session", session, "uid:1000", true},
		{"all signs of a session", session, "aZ09._-:#", true},
		{"longest session", session, strings.Repeat("x", 64), true},
		{"empty session", session, "", false},
		{"too long a session", session, strings.Repeat("x", 65), false},
		{"session with a slash", session, "a/b", false},
		{"session with a line end", session, "a\n", false},
		{"session with a zero", session, "a\x00", false},
		{"session with an umlaut", session, "ä", false},
		{"tenant", tenant, "hr.example-1_x", true},
		{"longest tenant", tenant, strings.Repeat("x", 64), true},
		{"empty tenant", tenant, "", false},
		{"too long a tenant", tenant, strings.Repeat("x", 65), false},
		{"tenant with a colon", tenant, "a:b", false},
		{"tenant with a space", tenant, "a b", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.parse(tt.text)
			if !tt.ok {
				wantInvalid(t, tt.name, err)
			} else if err != nil || got != tt.text {
				t.Errorf("parse(%q) = %q, %v, want it back", tt.text, got, err)
			}
		})
	}
}

// The names go into logs, paths of URLs and tables: whatever is accepted is plain.
func FuzzParseSessionID(f *testing.F) {
	for _, seed := range []string{"", "7", "uid:1000", "c2", "a b", "../x", "ä", "x\x00", strings.Repeat("9", 65)} {
		f.Add(seed)
	}
	plain := regexp.MustCompile(`^[A-Za-z0-9._:#-]{1,64}$`)
	f.Fuzz(func(t *testing.T, text string) {
		id, err := cardbroker.ParseSessionID(text)
		if err != nil {
			wantInvalid(t, "ParseSessionID", err)
		}
		if ok := err == nil; ok != plain.MatchString(text) || ok && string(id) != text {
			t.Errorf("ParseSessionID(%q) = %q, %v", text, id, err)
		}
	})
}
