// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardbroker_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
)

const (
	route  = "0123456789abcdef"
	secret = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8" // 43 characters
)

func TestTicketRoundTrip(t *testing.T) {
	for _, resume := range []bool{false, true} {
		ticket := cardbroker.Ticket{Route: route, Secret: cardbroker.RandomSecret(), Resume: resume}
		got, err := cardbroker.ParseTicket(ticket.Reveal())
		if err != nil {
			t.Fatalf("ParseTicket of a new ticket: %v", err)
		}
		if got.Route != ticket.Route || !got.Secret.Matches(ticket.Secret.Hash()) || got.Resume != resume {
			t.Errorf("ParseTicket gave route %s, resume %v and another secret, want route %s, resume %v", got.Route, got.Resume, ticket.Route, resume)
		}
	}
}

func TestParseTicketRefuses(t *testing.T) {
	tests := []struct{ name, text string }{
		{"empty", ""},
		{"prefix alone", "cbt1."},
		{"another version", "cbt2." + route + "." + secret},
		{"no prefix", route + "." + secret},
		{"no secret", "cbt1." + route},
		{"empty secret", "cbt1." + route + "."},
		{"short route", "cbt1." + route[2:] + "." + secret},
		{"long route", "cbt1." + route + "00." + secret},
		{"route not hexadecimal", "cbt1." + "x" + route[1:] + "." + secret},
		{"short secret", "cbt1." + route + "." + secret[1:]},
		{"long secret", "cbt1." + route + "." + secret + "A"},
		{"secret with padding", "cbt1." + route + "." + secret[1:] + "="},
		{"secret of plain base64", "cbt1." + route + "." + secret[1:] + "+"},
		{"secret with a dot", "cbt1." + route + "." + secret[1:] + "."},
		{"line end", "cbt1." + route + "." + secret + "\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := cardbroker.ParseTicket(tt.text)
			wantInvalid(t, fmt.Sprintf("ParseTicket(%q)", tt.text), err)
			if err != nil && strings.Contains(err.Error(), secret[1:]) {
				t.Errorf("the error repeats the secret: %v", err)
			}
		})
	}
}

func TestTicketHidesItsSecret(t *testing.T) {
	ticket, err := cardbroker.ParseTicket("cbt1." + route + "." + secret)
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		wantHidden(t, verb, fmt.Sprintf(verb, ticket), secret)
	}
}

func FuzzParseTicket(f *testing.F) {
	for _, seed := range []string{"cbt1." + route + "." + secret, "cbt1..", "cbt1", "", "cbt1." + route + ".", "cbt1." + strings.ToUpper(route) + "." + secret} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ticket, err := cardbroker.ParseTicket(text)
		if err != nil {
			wantInvalid(t, "ParseTicket", err)
			return
		}
		if got := ticket.Reveal(); got != text {
			t.Errorf("ParseTicket(%q).Reveal() = %q, want it back", text, got)
		}
	})
}
