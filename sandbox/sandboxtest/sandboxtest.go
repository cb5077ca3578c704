// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package sandboxtest is what every source of readers must do to stand behind a sandbox: one suite for software cards and
// PC/SC alike. It needs a reader with a card in it, and leaves that card as it is but for resets. Only tests import it.
package sandboxtest

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/sandbox"
)

// watchLimit is how long a list of readers, or the end of a watch, may take.
const watchLimit = 10 * time.Second

// selectDefault is SELECT without a name, ISO/IEC 7816-4 §11.2.2: any card answers it with some status word.
const selectDefault = "\x00\xA4\x04\x00\x00"

// Hand takes the card out of the reader and puts it back. Each returns when that has been noticed.
type Hand struct{ Pull, Insert func(t *testing.T) }

// test is a part of the suite.
type test struct {
	name string
	run  func(t *testing.T, readers sandbox.Readers)
}

// Run runs the suite. open returns the readers under test; each call may return the same ones. Where hand is nil the card
// is never taken out.
func Run(t *testing.T, open func(t *testing.T) sandbox.Readers, hand *Hand) {
	tests := []test{
		{"Watch", testWatch},
		{"ConnectErrors", testConnectErrors},
		{"Exclusive", testExclusive},
		{"Transmit", testTransmit},
		{"Transaction", testTransaction},
		{"Nested", testNested},
		{"Reset", testReset},
		{"Direct", testDirect},
		{"Functions", testFunctions},
		{"Disconnect", testDisconnect},
	}
	if hand != nil {
		tests = append(tests, hand.tests()...)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

// testWatch: the readers that are there come first, then the end of the list, then nothing without a change; the end of
// ctx is the end of Watch.
func testWatch(t *testing.T, readers sandbox.Readers) {
	reader, end := list(t, readers)
	if reader.Reader == "" || len(reader.Reader) > 127 {
		t.Errorf("the reader's name is %q, want 1 to 127 bytes", reader.Reader)
	}
	if n := len(reader.Card.ATR); n < 2 || n > 33 {
		t.Errorf("the ATR has %d bytes, want 2 to 33", n)
	}
	if err := end(); cardbroker.ReasonOf(err) != cardbroker.Canceled {
		t.Errorf("Watch() = %v after the end of its ctx, want that ctx's error", err)
	}
}

// list watches until the list is complete and returns a reader with a card, and what ends the watch.
func list(t *testing.T, readers sandbox.Readers) (withCard sandbox.Event, end func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	complete, ended := make(chan sandbox.Event, 1), make(chan error, 1)
	var found sandbox.Event
	go func() {
		isComplete := false
		ended <- readers.Watch(ctx, func(e sandbox.Event) {
			switch {
			case isComplete:
			case e == sandbox.Event{}:
				isComplete = true
				complete <- found
			case e.Present && e.Card != nil:
				found = e
			}
		})
	}()
	end = func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(watchLimit):
			t.Fatal("Watch() goes on after the end of its ctx")
			return nil
		}
	}
	select {
	case withCard = <-complete:
	case err := <-ended:
		t.Fatalf("Watch() = %v before the list was complete", err)
	case <-time.After(watchLimit):
		t.Fatal("Watch() has not told all readers")
	}
	if withCard.Card == nil {
		t.Fatal("no reader has a card in it")
	}
	return withCard, end
}

// connect connects to the card, for the time of the test.
func connect(t *testing.T, readers sandbox.Readers, share cardbroker.ShareMode) sandbox.Card {
	t.Helper()
	reader, end := list(t, readers)
	end()
	card, err := readers.Connect(reader.Reader, share)
	if err != nil {
		t.Fatalf("Connect(%q, %d) = %v", reader.Reader, share, err)
	}
	t.Cleanup(func() { card.Disconnect(cardbroker.LeaveCard) })
	if info := card.Info(); !bytes.Equal(info.ATR, reader.Card.ATR) || info.Protocol == cardbroker.ProtocolUndefined {
		t.Errorf("Info() = %+v, want the ATR of the list, %x, and a protocol", info, reader.Card.ATR)
	}
	return card
}

func want(t *testing.T, what string, err error, reason cardbroker.Reason) {
	t.Helper()
	if got := cardbroker.ReasonOf(err); got != reason {
		t.Errorf("%s = %v, want the reason %q", what, err, reason)
	}
}

func transmit(t *testing.T, card sandbox.Card) error {
	t.Helper()
	_, err := card.Transmit(nil, []byte(selectDefault))
	return err
}

func testConnectErrors(t *testing.T, readers sandbox.Readers) {
	_, err := readers.Connect("no such reader", cardbroker.ShareShared)
	want(t, "Connect to an unknown reader", err, cardbroker.ReaderUnknown)
	reader, end := list(t, readers)
	end()
	_, err = readers.Connect(reader.Reader, 7)
	want(t, "Connect in share mode 7", err, cardbroker.Invalid)
}

// testExclusive: an exclusive connection is alone.
func testExclusive(t *testing.T, readers sandbox.Readers) {
	reader, end := list(t, readers)
	end()
	for _, share := range []struct{ first, second cardbroker.ShareMode }{
		{cardbroker.ShareExclusive, cardbroker.ShareShared},
		{cardbroker.ShareShared, cardbroker.ShareExclusive},
	} {
		first, err := readers.Connect(reader.Reader, share.first)
		if err != nil {
			t.Fatalf("Connect(%d) = %v", share.first, err)
		}
		_, err = readers.Connect(reader.Reader, share.second)
		want(t, "second Connect", err, cardbroker.ReaderBusy)
		want(t, "Disconnect", first.Disconnect(cardbroker.LeaveCard), "")
	}
}

// testTransmit: the response is appended, also where there is no room for it yet; an error changes nothing.
func testTransmit(t *testing.T, readers sandbox.Readers) {
	card := connect(t, readers, cardbroker.ShareShared)
	for _, dst := range [][]byte{nil, []byte("before"), append(make([]byte, 0, 512), "before"...)} {
		got, err := card.Transmit(dst, []byte(selectDefault))
		if err != nil || len(got) < len(dst)+2 || !bytes.HasPrefix(got, dst) {
			t.Errorf("Transmit(%q) = %q, %v, want a response behind it", dst, got, err)
		}
	}
	got, err := card.Transmit([]byte("before"), []byte{0x00, 0xA4, 0x04})
	want(t, "Transmit of 3 bytes", err, cardbroker.Invalid)
	if string(got) != "before" {
		t.Errorf("Transmit of 3 bytes = %q, want dst as it was", got)
	}
}

// testTransaction: within a transaction no other connection begins one: it is refused at once, or waits for the end.
func testTransaction(t *testing.T, readers sandbox.Readers) {
	one, other := connect(t, readers, cardbroker.ShareShared), connect(t, readers, cardbroker.ShareShared)
	want(t, "Begin", one.Begin(), "")
	begun := make(chan error, 1)
	go func() { begun <- other.Begin() }()
	for range 20 { // time enough to begin
		want(t, "Transmit within", transmit(t, one), "")
	}
	refused := false
	select {
	case err := <-begun:
		want(t, "another's Begin within", err, cardbroker.ReaderBusy)
		refused = true
	default:
	}
	want(t, "End", one.End(cardbroker.LeaveCard), "")
	if !refused {
		select {
		case err := <-begun:
			refused = cardbroker.ReasonOf(err) == cardbroker.ReaderBusy
			if !refused {
				want(t, "another's Begin that waited", err, "")
			}
		case <-time.After(watchLimit):
			t.Fatal("another's Begin goes on after the end of the transaction")
		}
	}
	if refused {
		want(t, "another's Begin afterwards", other.Begin(), "")
	}
	want(t, "Disconnect with a transaction", other.Disconnect(cardbroker.LeaveCard), "")
	want(t, "Begin after that", one.Begin(), "")
	want(t, "End", one.End(cardbroker.LeaveCard), "")
}

// testNested: transactions nest, and every End has its Begin.
func testNested(t *testing.T, readers sandbox.Readers) {
	card := connect(t, readers, cardbroker.ShareShared)
	want(t, "End without Begin", card.End(cardbroker.LeaveCard), cardbroker.Invalid)
	want(t, "Begin", card.Begin(), "")
	want(t, "second Begin", card.Begin(), "")
	want(t, "End with disposition 4", card.End(4), cardbroker.Invalid)
	want(t, "End", card.End(cardbroker.LeaveCard), "")
	want(t, "Transmit within", transmit(t, card), "")
	want(t, "second End", card.End(cardbroker.LeaveCard), "")
	want(t, "third End", card.End(cardbroker.LeaveCard), cardbroker.Invalid)
}

// testReset: who resets the card goes on; others are told once and then go on.
func testReset(t *testing.T, readers sandbox.Readers) {
	one, other := connect(t, readers, cardbroker.ShareShared), connect(t, readers, cardbroker.ShareShared)
	for _, d := range []cardbroker.Disposition{cardbroker.ResetCard, cardbroker.UnpowerCard} {
		want(t, "Begin", one.Begin(), "")
		want(t, "End with a reset", one.End(d), "")
		want(t, "Transmit of who reset the card", transmit(t, one), "")
		want(t, "another's Transmit", transmit(t, other), cardbroker.CardReset)
		want(t, "another's second Transmit", transmit(t, other), "")
	}
	want(t, "Begin", one.Begin(), "")
	want(t, "End with a reset", one.End(cardbroker.ResetCard), "")
	want(t, "another's Begin", other.Begin(), cardbroker.CardReset)
	want(t, "another's second Begin", other.Begin(), "")
	want(t, "another's End", other.End(cardbroker.LeaveCard), "")
	want(t, "Transmit of who reset the card", transmit(t, one), "")
	want(t, "Disconnect with a reset", other.Disconnect(cardbroker.ResetCard), "")
	want(t, "Transmit after that", transmit(t, one), cardbroker.CardReset)
}

// testDirect: a direct connection is to the reader. It takes no commands, and others work beside it.
func testDirect(t *testing.T, readers sandbox.Readers) {
	reader, end := list(t, readers)
	end()
	direct, err := readers.Connect(reader.Reader, cardbroker.ShareDirect)
	if err != nil {
		t.Fatalf("Connect directly = %v", err)
	}
	if info := direct.Info(); info.Protocol != cardbroker.ProtocolUndefined {
		t.Errorf("Info() = %+v, want no protocol", info)
	}
	want(t, "Transmit directly", transmit(t, direct), cardbroker.Invalid)
	want(t, "Transmit beside", transmit(t, connect(t, readers, cardbroker.ShareShared)), "")
	want(t, "Disconnect", direct.Disconnect(cardbroker.LeaveCard), "")
}

// testFunctions: what the reader does not have is Unsupported, and changes nothing.
func testFunctions(t *testing.T, readers sandbox.Readers) {
	card := connect(t, readers, cardbroker.ShareShared)
	const noFunction, noAttribute = 0x42000000 + 0x7F17, 0x7A7A7A7A
	got, err := card.Control([]byte("before"), noFunction, []byte{1})
	want(t, "Control of a function that is not there", err, cardbroker.Unsupported)
	if string(got) != "before" {
		t.Errorf("Control = %q, want dst as it was", got)
	}
	_, err = card.Attribute(noAttribute)
	want(t, "Attribute that is not there", err, cardbroker.Unsupported)
	want(t, "Transmit", transmit(t, card), "")
}

// testDisconnect: a connection ends once, and only with a disposition that there is.
func testDisconnect(t *testing.T, readers sandbox.Readers) {
	card := connect(t, readers, cardbroker.ShareShared)
	want(t, "Disconnect with disposition 4", card.Disconnect(4), cardbroker.Invalid)
	want(t, "Transmit", transmit(t, card), "")
	want(t, "Disconnect", card.Disconnect(cardbroker.LeaveCard), "")
	want(t, "second Disconnect", card.Disconnect(cardbroker.LeaveCard), cardbroker.Invalid)
	want(t, "Transmit", transmit(t, card), cardbroker.Invalid)
	want(t, "Begin", card.Begin(), cardbroker.Invalid)
}
