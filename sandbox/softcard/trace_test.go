// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package softcard_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/trace"
	"github.com/cardbroker/cardbroker/sandbox/softcard"
)

// TestTrace serves a card that was recorded: its ATR, its answers, and its beginning after a reset.
func TestTrace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace")
	w, err := trace.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w.Begin("Reader", cardbroker.Card{ATR: []byte{0x3B, 0x80, 0x80, 0x01, 0x01}, Protocol: cardbroker.ProtocolT0})
	for n := range 2 {
		w.Add(trace.Entry{Command: []byte{0, 0x84, 0, 0, 1}, Data: []byte{byte(n)}, SW: 0x9000})
	}
	w.Close()

	r, err := softcard.New(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	card, err := r.Connect(softcard.Name, cardbroker.ShareShared)
	if err != nil {
		t.Fatal(err)
	}
	if info := card.Info(); fmt.Sprintf("%X %v", info.ATR, info.Protocol) != "3B80800101 T0" {
		t.Errorf("Info = %X, %v", info.ATR, info.Protocol)
	}
	for _, want := range []string{"009000", "019000", "009000"} {
		if got, err := card.Transmit(nil, []byte{0, 0x84, 0, 0, 1}); fmt.Sprintf("%X", got) != want || err != nil {
			t.Errorf("Transmit = %X, %v, want %s", got, err, want)
		}
	}
	card.Disconnect(cardbroker.ResetCard)
	if card, err = r.Connect(softcard.Name, cardbroker.ShareShared); err != nil {
		t.Fatal(err)
	}
	if got, _ := card.Transmit(nil, []byte{0, 0x84, 0, 0, 1}); fmt.Sprintf("%X", got) != "009000" {
		t.Errorf("Transmit after a reset = %X", got)
	}

	os.Chmod(path, 0o644)
	if _, err := softcard.New(path, slog.New(slog.DiscardHandler)); cardbroker.ReasonOf(err) != cardbroker.Invalid {
		t.Errorf("New with a trace that is open to others = %v, want %s", err, cardbroker.Invalid)
	}
	os.WriteFile(path, []byte(trace.Mark+"9}\n"), 0o600)
	os.Chmod(path, 0o600)
	if _, err := softcard.New(path, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "line 1 of the trace") {
		t.Errorf("New with a damaged trace = %v", err)
	}
}
