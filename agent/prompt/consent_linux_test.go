// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package prompt_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/consent"
	"github.com/cardbroker/cardbroker/agent/prompt"
	"github.com/cardbroker/cardbroker/internal/testenv"
)

var wish = consent.Question{Origin: "https://shop.example", Days: 30}

// script makes a program of ours.
func script(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestConsentCommand: "allow" with status 0 is yes, and nothing else is: least of all a PIN, from a program that was made to
// ask for PINs.
func TestConsentCommand(t *testing.T) {
	for _, test := range []struct {
		name, script string
		yes          bool
		reason       cardbroker.Reason
	}{
		{"yes", "echo allow", true, ""},
		{"no", "exit 1", false, ""},
		{"no, in words", "echo deny", false, ""},
		{"yes, but status 1", "echo allow; exit 1", false, ""},
		{"silence", ":", false, cardbroker.Unavailable},
		{"a PIN", "echo 123456", false, cardbroker.Unavailable},
		{"more than yes", "echo allow; echo allow", false, cardbroker.Unavailable},
		{"a failure", "echo allow; exit 2", false, cardbroker.Unavailable},
		{"a death", "echo allow; kill -9 $$", false, cardbroker.Unavailable},
		{"a flood", "yes allow", false, cardbroker.Unavailable},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := prompt.NewConsent([]string{script(t, "ask", test.script)}, slog.New(slog.DiscardHandler))
			yes, err := p.AskConsent(t.Context(), wish)
			if yes != test.yes || cardbroker.ReasonOf(err) != test.reason {
				t.Errorf("AskConsent = %v, %v, want %v, %q", yes, err, test.yes, test.reason)
			}
		})
	}
	told := filepath.Join(t.TempDir(), "told")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	prompt.NewConsent([]string{script(t, "ask", "cat >"+told)}, slog.New(slog.DiscardHandler)).AskConsent(ctx, wish)
	text, _ := os.ReadFile(told)
	var q map[string]any
	err := json.Unmarshal(text, &q)
	if left, _ := q["timeout_s"].(float64); err != nil || q["kind"] != "consent" || q["origin"] != "https://shop.example" || q["days"] != 30.0 || left < 20 || left > 29 {
		t.Errorf("the program was told %s, %v", text, err)
	}
}

// TestConsentEnds: the program is killed with who waits for it.
func TestConsentEnds(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	yes, err := prompt.NewConsent([]string{script(t, "ask", "sleep 60; echo allow")}, slog.New(slog.DiscardHandler)).AskConsent(ctx, wish)
	if yes || cardbroker.ReasonOf(err) != cardbroker.Timeout || time.Since(start) > 10*time.Second {
		t.Errorf("AskConsent = %v, %v after %v", yes, err, time.Since(start))
	}
}

// TestDialogs: a dialog is used if there is a display and nobody but root can change it; what it is told means nothing to
// markup, and a long origin shows its end.
func TestDialogs(t *testing.T) {
	t.Setenv("DISPLAY", "")
	t.Setenv("WAYLAND_DISPLAY", "")
	log := slog.New(slog.DiscardHandler)
	if prompt.DialogOf("/bin/true", log) != nil {
		t.Error("a dialog without a display")
	}
	t.Setenv("DISPLAY", ":99")
	if prompt.DialogOf("/nowhere", log) != nil {
		t.Error("a dialog that is not there")
	}
	testenv.Root(t)
	theirs := script(t, "zenity", "exit 0")
	if err := os.Chown(theirs, 1234, 1234); err != nil {
		t.Fatal(err)
	}
	if prompt.DialogOf(theirs, log) != nil {
		t.Error("a dialog that its user can change")
	}
	told := filepath.Join(t.TempDir(), "told")
	ours := script(t, "zenity", `printf '%s\n' "$@" >`+told+"; exit 0")
	long := consent.Question{Origin: cardbroker.Origin("https://accounts.bank.example." + strings.Repeat("a", 60) + "." + strings.Repeat("b", 60) + ".evil.example"), Days: 3}
	yes, err := prompt.DialogOf(ours, log).AskConsent(t.Context(), long)
	text, _ := os.ReadFile(told)
	if !yes || err != nil || strings.Contains(string(text), "bank.example") || !strings.Contains(string(text), "bbb.evil.example\n") || !strings.Contains(string(text), "https://…") {
		t.Errorf("AskConsent = %v, %v; the dialog was told %s", yes, err, text)
	}
	for _, option := range []string{"--no-markup", "--default-cancel"} {
		if !strings.Contains(string(text), option+"\n") {
			t.Errorf("the dialog was not told %s", option)
		}
	}
	if yes, err := prompt.DialogOf(script(t, "zenity", "exit 1"), log).AskConsent(t.Context(), wish); yes || err != nil {
		t.Errorf("a dialog that was closed: %v, %v", yes, err)
	}
}
