// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcscd_test

import (
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/pcscd"
)

func TestCode(t *testing.T) {
	for reason, want := range map[cardbroker.Reason]uint32{
		cardbroker.CardRemoved:     removedCard,
		cardbroker.CardReset:       resetCard,
		cardbroker.CardAbsent:      noSmartcard,
		cardbroker.CardMute:        unresponsive,
		cardbroker.ReaderBusy:      sharingViolation,
		cardbroker.ReaderUnknown:   readerUnavailable,
		cardbroker.Unavailable:     readerUnavailable,
		cardbroker.Indeterminate:   commError,
		cardbroker.Timeout:         timedOut,
		cardbroker.Forbidden:       securityViolation,
		cardbroker.Unsupported:     unsupportedFeature,
		cardbroker.Invalid:         invalidParameter,
		cardbroker.Internal:        0x80100001,
		cardbroker.Reason("newer"): 0x80100001,
	} {
		if got := pcscd.Code(cardbroker.Errorf(reason, "")); got != want {
			t.Errorf("Code(%s) = %#x, want %#x", reason, got, want)
		}
	}
	if got := pcscd.Code(nil); got != success {
		t.Errorf("Code(nil) = %#x, want success", got)
	}
}

// TestTransmitFails: what becomes of the command, of the handle that sent it, and of another one.
func TestTransmitFails(t *testing.T) {
	tests := map[cardbroker.Reason]struct {
		command uint32 // the failed one
		after   uint32 // what both handles are told afterwards
		calls   []string
	}{
		cardbroker.CardReset:     {resetCard, resetCard, []string{"transmit"}},
		cardbroker.Indeterminate: {commError, resetCard, []string{"transmit"}},
		cardbroker.Timeout:       {timedOut, resetCard, []string{"transmit"}},
		cardbroker.CardRemoved:   {removedCard, removedCard, []string{"transmit", "disconnect 0"}},
		cardbroker.Unavailable:   {readerUnavailable, removedCard, []string{"transmit", "disconnect 0"}},
		cardbroker.CardMute:      {unresponsive, success, []string{"transmit"}},
		cardbroker.ReaderBusy:    {sharingViolation, success, []string{"transmit"}},
		cardbroker.Forbidden:     {securityViolation, success, []string{"transmit"}},
	}
	for reason, test := range tests {
		t.Run(string(reason), func(t *testing.T) {
			f, a, b := one(t)
			ha, hb := a.connect("r"), b.connect("r")
			f.called()
			f.failNext("transmit", reason)
			check(t, "Transmit", a.try(ha), test.command)
			f.wantCalls(test.calls...) // once, whatever happens
			check(t, "own Status", a.status(ha), test.after)
			check(t, "another's Status", b.status(hb), test.after)
			_, code := a.reconnect(ha, shared, leave)
			check(t, "Reconnect", code, success)
			check(t, "Transmit", a.try(ha), success)
		})
	}
}

// TestResetInTransaction: the far end may have lost the transaction with the card's state, so it is begun anew.
func TestResetInTransaction(t *testing.T) {
	f, a, _ := one(t)
	h := a.connect("r")
	check(t, "Begin", a.begin(h), success)
	f.failNext("transmit", cardbroker.CardReset)
	check(t, "Transmit", a.try(h), resetCard)
	check(t, "End before Reconnect", a.end(h, leave), resetCard)
	f.called()
	f.failNext("end 0", cardbroker.Invalid) // it has
	_, code := a.reconnect(h, shared, leave)
	check(t, "Reconnect", code, success)
	check(t, "Transmit", a.try(h), success)
	check(t, "End", a.end(h, leave), success)
	f.wantCalls("end 0", "begin", "transmit", "end 0")
}

func TestConnectFails(t *testing.T) {
	for reason, want := range map[cardbroker.Reason]uint32{
		cardbroker.ReaderBusy: sharingViolation, cardbroker.CardAbsent: noSmartcard, cardbroker.Forbidden: securityViolation,
		cardbroker.Unavailable: readerUnavailable,
	} {
		f, a, b := one(t)
		f.failNext("connect", reason)
		_, _, code := a.tryConnect("r", exclusive, either)
		check(t, "Connect", code, want)
		if got := a.state("r").sharing; got != 0 {
			t.Errorf("sharing = %d after a connect that failed, want 0", got)
		}
		check(t, "another's Transmit", b.try(b.connect("r")), success)
	}
}

func TestBeginFails(t *testing.T) {
	f, a, b := one(t)
	ha, hb := a.connect("r"), b.connect("r")
	f.failNext("begin", cardbroker.ReaderBusy)
	check(t, "Begin while a program at the far end has a transaction", a.begin(ha), sharingViolation)
	check(t, "End", a.end(ha, leave), notTransacted)
	f.failNext("begin", cardbroker.CardReset)
	check(t, "Begin after a reset", a.begin(ha), resetCard)
	check(t, "another's Status", b.status(hb), resetCard)
	f.failNext("end 0", cardbroker.CardRemoved)
	a.reconnect(ha, shared, leave)
	check(t, "Begin", a.begin(ha), success)
	check(t, "End without a card", a.end(ha, leave), removedCard)
	check(t, "Status", a.status(ha), removedCard)
	b.reconnect(hb, shared, leave)
	check(t, "another's Begin", b.begin(hb), success)
}

// TestResetWhileBeginning: a client has the transaction, and waits for its turn at the card, when the card is reset. It
// was told of the reset, and the transaction was nobody's for ever.
func TestResetWhileBeginning(t *testing.T) {
	f, a, b := one(t)
	ha, hb := a.connect("r"), b.connect("r")
	f.block = make(chan struct{})
	f.failNext("transmit", cardbroker.Indeterminate)
	a.send(0x09, words(ha, t1, 16, 4, 0, 0, 100, 0), 0, 0xA4, 4, 0)
	<-f.began
	b.send(0x07, words(hb, 0))
	b.silent(pause) // until it waits
	close(f.block)
	check(t, "Transmit", word(a.read(32), 28), commError)
	check(t, "Begin", word(b.read(8), 4), resetCard)
	check(t, "End", b.end(hb, leave), resetCard)
	f.wantCalls("connect", "transmit")
	_, code := a.reconnect(ha, shared, leave)
	check(t, "Reconnect", code, success)
	check(t, "another's Begin", a.begin(ha), success)
}

// TestEndFails: whether the far end still has the transaction is not known then, so it is ended once more.
func TestEndFails(t *testing.T) {
	f, a, b := one(t)
	ha, hb := a.connect("r"), b.connect("r")
	check(t, "Begin", a.begin(ha), success)
	f.failNext("end 1", cardbroker.ReaderBusy)
	check(t, "End with a reset", a.end(ha, reset), sharingViolation)
	check(t, "another's Status", b.status(hb), success) // there was none
	f.called()
	check(t, "another's Begin", b.begin(hb), success)
	f.wantCalls("end 0", "begin")
}

// TestDeathAfterReset: a card that was reset is not reset again for a client that knows nothing of it.
func TestDeathAfterReset(t *testing.T) {
	f, a, b := one(t)
	h := a.connect("r")
	check(t, "Begin", a.begin(h), success)
	f.failNext("transmit", cardbroker.CardReset)
	check(t, "Transmit", a.try(h), resetCard)
	a.conn.Close()
	for start := time.Now(); b.state("r").sharing != 0 && time.Since(start) < waitLimit; {
	}
	b.connect("r") // after that, for the turn
	f.wantCalls("connect", "begin", "transmit", "disconnect 0", "connect")
}

func TestControlFails(t *testing.T) {
	f, a, _ := one(t)
	h := a.connect("r")
	for _, reason := range []cardbroker.Reason{cardbroker.Forbidden, cardbroker.Unsupported} {
		f.failNext("control 42000d48", reason)
		_, code := a.control(h, 0x42000D48, []byte{1}, 100)
		check(t, "Control", code, unsupportedFeature)
	}
	_, code := a.control(h, 1, []byte("12345"), 4)
	check(t, "Control with too little room", code, insufficientBuffer)
	got, code := a.control(h, 1, make([]byte, 65548), 65548)
	if code != success || len(got) != 65548 {
		t.Errorf("Control with 65,548 bytes = %d bytes, %#x", len(got), code)
	}
	check(t, "Status", a.status(h), success)
}

// TestQueue: so many wait for a card that is at work, and more are told to ask again. Nobody else is held up.
func TestQueue(t *testing.T) {
	f := newFake(t, with("r"), with("s"))
	f.block = make(chan struct{})
	socket := serve(t, pcscd.Config{Source: f})
	var all []*speaker
	for range 12 {
		p := enter(t, socket)
		h := p.connect("r")
		all = append(all, p)
		p.send(0x09, words(h, t1, 16, 4, 0, 0, 100, 0), 0, 0xA4, 4, 0)
		if len(all) == 1 {
			<-f.began
		}
	}
	other := enter(t, socket)
	check(t, "Status at another reader", other.status(other.connect("s")), success)
	if got := len(other.states()); got != 2 {
		t.Errorf("%d readers, want 2", got)
	}
	refused := 0
	answers := make(chan uint32, len(all))
	for _, p := range all {
		go func() { answers <- word(p.read(32), 28) }()
	}
	for range 3 {
		check(t, "Transmit of one too many", <-answers, sharingViolation)
		refused++
	}
	close(f.block)
	for range len(all) - refused {
		check(t, "Transmit", <-answers, success)
	}
}
