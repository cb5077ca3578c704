// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package softcard_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/apdu"
	"github.com/cardbroker/cardbroker/sandbox"
	"github.com/cardbroker/cardbroker/sandbox/softcard"
)

func TestWatch(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var events []sandbox.Event
	err := newReader(t, "").Watch(ctx, func(e sandbox.Event) {
		events = append(events, e)
		if e == (sandbox.Event{}) {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || len(events) != 2 {
		t.Fatalf("Watch: %v, %v, want one reader and the end of the list", events, err)
	}
	e := events[0]
	if e.Reader != softcard.Name || !e.Present || e.PINPad || e.Card == nil {
		t.Errorf("Watch: %+v, want the reader with its card", e)
	}
}

func TestATR(t *testing.T) {
	c := newClient(t)
	info := c.card.Info()
	atr, err := apdu.ParseATR(info.ATR)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(atr.Protocols, []int{0, 1}) || string(atr.Historical) != "\x80\x73\xC0\x21\xC0\x58softcard" {
		t.Errorf("the ATR %X is %+v", info.ATR, atr)
	}
	if info.Protocol != cardbroker.ProtocolT1 {
		t.Errorf("Info: protocol %v, want T1", info.Protocol)
	}
}

func TestSharing(t *testing.T) {
	const shared, exclusive, direct = cardbroker.ShareShared, cardbroker.ShareExclusive, cardbroker.ShareDirect
	tests := []struct {
		name   string
		reader string
		held   []cardbroker.ShareMode // connections that are open
		share  cardbroker.ShareMode
		want   cardbroker.Reason
	}{
		{"shared twice", softcard.Name, []cardbroker.ShareMode{shared}, shared, ""},
		{"exclusive alone", softcard.Name, nil, exclusive, ""},
		{"direct beside shared", softcard.Name, []cardbroker.ShareMode{shared}, direct, ""},
		{"exclusive beside shared", softcard.Name, []cardbroker.ShareMode{shared}, exclusive, cardbroker.ReaderBusy},
		{"exclusive beside two", softcard.Name, []cardbroker.ShareMode{shared, shared}, exclusive, cardbroker.ReaderBusy},
		{"shared beside exclusive", softcard.Name, []cardbroker.ShareMode{exclusive}, shared, cardbroker.ReaderBusy},
		{"direct beside exclusive", softcard.Name, []cardbroker.ShareMode{exclusive}, direct, cardbroker.ReaderBusy},
		{"no share mode", softcard.Name, nil, 0, cardbroker.Invalid},
		{"unknown reader", "another", nil, shared, cardbroker.ReaderUnknown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newReader(t, "")
			var held []sandbox.Card
			for _, share := range tt.held {
				card, err := r.Connect(softcard.Name, share)
				if err != nil {
					t.Fatal(err)
				}
				held = append(held, card)
			}
			_, err := r.Connect(tt.reader, tt.share)
			if got := cardbroker.ReasonOf(err); got != tt.want {
				t.Fatalf("Connect: %v, want %q", err, tt.want)
			}
			for _, card := range held {
				if err := card.Disconnect(cardbroker.LeaveCard); err != nil {
					t.Fatal(err)
				}
			}
			if tt.want == cardbroker.ReaderBusy {
				if _, err := r.Connect(tt.reader, tt.share); err != nil {
					t.Errorf("Connect when the others have gone: %v", err)
				}
			}
		})
	}
}

func wantReason(t *testing.T, what string, err error, want cardbroker.Reason) {
	t.Helper()
	if got := cardbroker.ReasonOf(err); got != want {
		t.Errorf("%s: %v, want %q", what, err, want)
	}
}

var echo = []byte{0x80, 0xEE, 0, 0}

func TestTransactions(t *testing.T) {
	r := newReader(t, "")
	mine, other := connect(t, r).card, connect(t, r).card
	transmit := func(c sandbox.Card) error { _, err := c.Transmit(nil, echo); return err }
	wantReason(t, "End without Begin", mine.End(cardbroker.LeaveCard), cardbroker.Invalid)
	wantReason(t, "Begin", mine.Begin(), "")
	wantReason(t, "Begin again", mine.Begin(), "")
	wantReason(t, "my Transmit", transmit(mine), "")
	wantReason(t, "the other's Transmit", transmit(other), cardbroker.ReaderBusy)
	wantReason(t, "the other's Begin", other.Begin(), cardbroker.ReaderBusy)
	_, err := r.Connect(softcard.Name, cardbroker.ShareShared)
	wantReason(t, "Connect", err, cardbroker.ReaderBusy)
	wantReason(t, "End with an unknown disposition", mine.End(9), cardbroker.Invalid)
	wantReason(t, "End", mine.End(cardbroker.LeaveCard), "")
	wantReason(t, "the other's Transmit in the outer transaction", transmit(other), cardbroker.ReaderBusy)
	wantReason(t, "End again", mine.End(cardbroker.LeaveCard), "")
	wantReason(t, "the other's Begin after it", other.Begin(), "")
	wantReason(t, "Disconnect within a transaction", other.Disconnect(cardbroker.LeaveCard), "")
	wantReason(t, "my Transmit after it", transmit(mine), "")
	wantReason(t, "Transmit after Disconnect", transmit(other), cardbroker.Invalid)
	wantReason(t, "Disconnect twice", other.Disconnect(cardbroker.LeaveCard), cardbroker.Invalid)
}

func TestResetForgets(t *testing.T) {
	for _, d := range []cardbroker.Disposition{cardbroker.ResetCard, cardbroker.UnpowerCard, cardbroker.EjectCard} {
		r := newReader(t, "")
		mine, other := connect(t, r), connect(t, r)
		mine.selectPIV()
		mine.verify("123456")
		wantReason(t, "Begin", mine.card.Begin(), "")
		wantReason(t, "End with reset", mine.card.End(d), "")
		mine.wantSW("00200080", "6D00") // not even selected
		mine.selectPIV()
		mine.wantSW("00200080", "63C3")
		_, err := other.card.Transmit(nil, echo)
		wantReason(t, "the other's Transmit", err, cardbroker.CardReset)
		other.wantSW("00200080", "63C3") // told once
	}
}

// TestResetWithinAnothersTransaction: it would take the card away from under the transaction.
func TestResetWithinAnothersTransaction(t *testing.T) {
	r := newReader(t, "")
	mine, other := connect(t, r), connect(t, r)
	mine.selectPIV()
	wantReason(t, "Begin", mine.card.Begin(), "")
	wantReason(t, "the other's Disconnect with reset", other.card.Disconnect(cardbroker.ResetCard), "")
	mine.wantSW("00200080", "63C3") // still selected
	wantReason(t, "End", mine.card.End(cardbroker.LeaveCard), "")
}

func TestLeaveRemembers(t *testing.T) {
	r := newReader(t, "")
	c := connect(t, r)
	c.selectPIV()
	c.verify("123456")
	wantReason(t, "Disconnect", c.card.Disconnect(cardbroker.LeaveCard), "")
	connect(t, r).wantSW("00200080", "9000")
}

func TestDirectConnectionTakesNoCommands(t *testing.T) {
	card, err := newReader(t, "").Connect(softcard.Name, cardbroker.ShareDirect)
	if err != nil {
		t.Fatal(err)
	}
	if got := card.Info().Protocol; got != cardbroker.ProtocolUndefined {
		t.Errorf("Info: protocol %v, want none", got)
	}
	_, err = card.Transmit(nil, echo)
	wantReason(t, "Transmit", err, cardbroker.Invalid)
}

// TestSlowCard: a call while another one runs waits for its end. It was refused once, and so was the holder of a transaction
// whenever somebody else tried to begin one.
func TestSlowCard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReader(t, "")
		slow, other := connect(t, r), connect(t, r).card
		start := time.Now()
		done := make(chan string)
		go func() { done <- slow.transmit("80EF1388") }()
		synctest.Wait()
		_, err := other.Transmit(nil, echo)
		wantReason(t, "Transmit meanwhile", err, "")
		if waited := time.Since(start); waited != 5*time.Second {
			t.Errorf("Transmit meanwhile returned after %v, want 5s", waited)
		}
		if got := <-done; got != "9000" {
			t.Errorf("80EF1388 = %s, want 9000", got)
		}
	})
}
