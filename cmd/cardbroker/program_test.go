// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/store"
)

// TestExitStatus holds the exit statuses of docs/contract.md: every reason has one.
func TestExitStatus(t *testing.T) {
	statuses := map[int][]cardbroker.Reason{
		1: {cardbroker.Internal},
		2: {cardbroker.Invalid, cardbroker.SessionAmbiguous, cardbroker.TooLarge, cardbroker.Unsupported},
		3: {
			cardbroker.Unauthenticated, cardbroker.ConsentRequired, cardbroker.Forbidden, cardbroker.OriginDenied, cardbroker.TenantDenied,
			cardbroker.CallerRefused, cardbroker.ReaderSharedHost, cardbroker.PINIncorrect, cardbroker.PINBlocked, cardbroker.PINCanceled,
			cardbroker.PINNotEncrypted,
		},
		4: {
			cardbroker.NoAgent, cardbroker.NotFound, cardbroker.ReaderUnknown, cardbroker.ObjectUnknown, cardbroker.CardAbsent,
			cardbroker.PortsExhausted, cardbroker.Unavailable, cardbroker.NoLeader, cardbroker.AgentRestarting, cardbroker.SessionUnknown,
		},
		5: {cardbroker.CardRemoved, cardbroker.CardReset, cardbroker.CardMute, cardbroker.CardUnexpected, cardbroker.AuditBroken},
		6: {cardbroker.Indeterminate},
		7: {
			cardbroker.Conflict, cardbroker.StaleEpoch, cardbroker.ReaderBusy, cardbroker.RateLimited, cardbroker.Overloaded,
			cardbroker.Timeout, cardbroker.Canceled,
		},
	}
	for _, row := range api.Reasons() {
		if got := exitStatus(row.Reason); !slices.Contains(statuses[got], row.Reason) {
			t.Errorf("exitStatus(%s) = %d", row.Reason, got)
		}
	}
	if got := exitStatus(""); got != 0 {
		t.Errorf("exitStatus of no error = %d, want 0", got)
	}
	if got := exitStatus("from_the_future"); got != 1 {
		t.Errorf("exitStatus of an unknown reason = %d, want 1", got)
	}
}

// TestErrorsForPeople: what was being done, what went wrong and why stand in one line, and so they do in JSON.
func TestErrorsForPeople(t *testing.T) {
	missing := &fs.PathError{Op: "open", Path: "f", Err: fs.ErrNotExist}
	for _, test := range []struct {
		name string
		err  error
		want string
	}{
		{"a message", cardbroker.Errorf(cardbroker.Invalid, "no port"), "no port (invalid)"},
		{"what was being done", fmt.Errorf("--session: %w", cardbroker.Errorf(cardbroker.Invalid, "too long")), "--session: too long (invalid)"},
		{"a cause", cardbroker.Wrapf(missing, cardbroker.Invalid, "cannot read it"), "cannot read it: open f: file does not exist (invalid)"},
		{"a cause that the message has", cardbroker.Wrapf(missing, cardbroker.Invalid, "cannot: %v", missing), "cannot: open f: file does not exist (invalid)"},
		{"an error of ours as cause", cardbroker.Wrapf(cardbroker.Wrapf(missing, cardbroker.Internal, "in"), cardbroker.Invalid, "out"), "out: in: open f: file does not exist (invalid)"},
		{"a cause that says the same", cardbroker.Wrapf(cardbroker.Errorf(cardbroker.CardReset, "gone"), cardbroker.Indeterminate, "lost: gone"), "lost: gone (indeterminate)"},
		{"a cause that says the same and more", cardbroker.Wrapf(cardbroker.Wrapf(cardbroker.Errorf(cardbroker.Unavailable, "no agent"), cardbroker.Indeterminate, "cut"), cardbroker.Indeterminate, "cut"),
			"cut: no agent (indeterminate)"},
		{"Ctrl-C", cardbroker.Wrapf(context.Canceled, cardbroker.Canceled, "not done"), "not done: interrupted (canceled)"},
		{"a deadline that is a cause", cardbroker.Wrapf(context.DeadlineExceeded, cardbroker.Timeout, "not done"), "not done: the time is up (timeout)"},
		{"a rule", cardbroker.Refusef(cardbroker.CallerRefused, cardbroker.RuleNotAdmin, "not you"), "not you (caller_refused, not_admin)"},
		{"a reason alone", &cardbroker.Error{Reason: cardbroker.CardMute}, "card_mute (card_mute)"},
		{"no reason", fmt.Errorf("cannot: %w", missing), "cannot: open f: file does not exist (internal)"},
		{"a deadline", fmt.Errorf("cannot: %w", context.DeadlineExceeded), "cannot: context deadline exceeded (timeout)"},
		{"cobra's words", errors.New("accepts 1 arg(s)"), "accepts 1 arg(s) (invalid)"},
		{"several", errors.Join(fmt.Errorf("a: %w", cardbroker.Errorf(cardbroker.Timeout, "late")), fmt.Errorf("b: %w", cardbroker.Errorf(cardbroker.Invalid, "x"))),
			"a: timeout: late\nb: invalid: x (timeout)"},
		{"a name that moves the cursor", cardbroker.Errorf(cardbroker.Invalid, "no \x1b[2Jreader"), "no ?[2Jreader (invalid)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var text, body strings.Builder
			status := (&program{stderr: &text}).exit(test.err)
			if got := text.String(); got != "cardbroker: "+test.want+"\n" {
				t.Errorf("exit(%v) says %q, want %q", test.err, got, test.want)
			}
			if got := (&program{stderr: &body, json: true}).exit(test.err); got != status {
				t.Errorf("exit(%v) = %d with JSON, %d without", test.err, got, status)
			}
			var got api.ErrorBody
			if err := json.Unmarshal([]byte(body.String()), &got); err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(test.want, printable(got.Description, '\n')+" ("+string(got.Reason)) || got.Code == 0 {
				t.Errorf("exit(%v) says %s in JSON", test.err, &body)
			}
		})
	}
}

// TestDone: with --json a command that has nothing to say answers an object, and else nothing.
func TestDone(t *testing.T) {
	dir := t.TempDir()
	s, err := store.Open(filepath.Join(dir, "registry.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"--json": "{}\n", "--json=false": ""} {
		for _, verb := range []string{"backup", "compact"} {
			var out, problem strings.Builder
			status := run([]string{"host", "store", verb, filepath.Join(dir, verb+file), "--state", dir, file}, &out, &problem)
			if status != 0 || out.String() != want {
				t.Errorf("store %s %s = %d, %q, %s, want %q", verb, file, status, &out, &problem, want)
			}
		}
	}
}

// TestDiagnosisOfSeveralLines: what a parser draws stands in one row.
func TestDiagnosisOfSeveralLines(t *testing.T) {
	var out strings.Builder
	diagnosis(&out, api.Diagnosis{Checks: []api.Check{{ID: "policy", Status: "fail", Detail: "[1:1] unknown\n>  1 | x: y\n       ^", Fix: "mend it"}}})
	if want := "[1:1] unknown > 1 | x: y ^; mend it\n"; !strings.HasSuffix(out.String(), want) {
		t.Errorf("diagnosis = %q, want %q at its end", &out, want)
	}
}

func TestParseCommands(t *testing.T) {
	for _, test := range []struct {
		arg  string
		want string // hexadecimal; "": invalid
	}{
		{"00A40400", "00a40400"},
		{"00 a4:04 00", "00a40400"},
		{"00A4040002FFFF00", "00a4040002ffff00"},
		{"", ""},
		{"00A4", ""},
		{"00A404000", ""},
		{"00A4040G", ""},
		{"00A4040002FF", ""},
	} {
		got, err := parseCommands([]string{"00B0000000", test.arg})
		if test.want == "" {
			if cardbroker.ReasonOf(err) != cardbroker.Invalid || !strings.Contains(err.Error(), "command 2:") {
				t.Errorf("parseCommands(%q) = %x, %v, want invalid with its number", test.arg, got, err)
			}
		} else if err != nil || hex.EncodeToString(got[1]) != test.want {
			t.Errorf("parseCommands(%q) = %x, %v, want %s", test.arg, got, err, test.want)
		}
	}
}

// TestShownCommand: what a terminal or a log of it keeps has no PIN in it.
func TestShownCommand(t *testing.T) {
	for command, want := range map[string]string{
		"00a4040002ffff00":           "00A4040002FFFF00",
		"00200080":                   "00200080",
		"0020008008313233343536ffff": "0020008008****************",
		"00240080023132":             "0024008002****",
		"0c2c008004aabbccdd":         "0C2C008004********",
	} {
		raw, err := hex.DecodeString(command)
		if err != nil {
			t.Fatal(err)
		}
		if got := shownCommand(raw); got != want {
			t.Errorf("shownCommand(%s) = %s, want %s", command, got, want)
		}
	}
}

// TestLoopbackPort: the broker's own address is one of this host's.
func TestLoopbackPort(t *testing.T) {
	for address, want := range map[string]int{
		"127.0.0.1:51983": 51983, "[::1]:1": 1, "127.0.0.1:0": 0,
		"0.0.0.0:1": -1, "[::]:1": -1, "localhost:1": -1, ":1": -1, "127.0.0.1": -1, "127.0.0.1:http": -1, "": -1, "192.0.2.1:1": -1,
	} {
		got, err := loopbackPort("--listen", address)
		if want < 0 && cardbroker.ReasonOf(err) != cardbroker.Invalid || want >= 0 && (err != nil || int(got) != want) {
			t.Errorf("loopbackPort(%q) = %d, %v, want %d", address, got, err, want)
		}
	}
}
