// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcsc_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/sandbox"
	"github.com/cardbroker/cardbroker/test/pcscbed"
)

// callLimit is how long a call may take that nothing keeps waiting.
const callLimit = 20 * time.Second

// commands is told by the card of each command that it begins.
type commands chan struct{}

func (c commands) Write(p []byte) (int, error) {
	for range p {
		c <- struct{}{}
	}
	return len(p), nil
}

// during has a card take its time with a command, does something meanwhile, and returns what became of the command.
func (b *bed) during(begun commands, card sandbox.Card, do func()) error {
	b.Helper()
	ended := b.begin(func() error {
		_, err := card.Transmit(nil, delay(3000))
		return err
	})
	select {
	case <-begun:
	case err := <-ended:
		b.Fatalf("Transmit = %v before the card had the command", err)
	case <-time.After(callLimit):
		b.Fatal("the card does not get the command")
	}
	do()
	return b.wait("Transmit", ended)
}

// begin calls in a goroutine.
func (b *bed) begin(call func() error) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- call() }()
	return ended
}

// wait returns what a call that was begun returns.
func (b *bed) wait(what string, ended <-chan error) error {
	b.Helper()
	select {
	case err := <-ended:
		return err
	case <-time.After(callLimit):
		b.Fatalf("%s does not return", what)
		return nil
	}
}

// works fails unless a new connection does.
func (b *bed) works() {
	b.Helper()
	card := b.connect(cardbroker.ShareShared)
	b.want("Begin of the next connection", card.Begin(), "")
	b.want("Transmit of the next connection", transmit(card), "")
	b.want("End of the next connection", card.End(cardbroker.LeaveCard), "")
	b.want("Disconnect of the next connection", card.Disconnect(cardbroker.LeaveCard), "")
}

// insertTelling puts a card in that tells of its commands.
func (b *bed) insertTelling() commands {
	b.Helper()
	begun := make(commands, 100)
	b.insert(pcscbed.Card{Commands: begun})
	return begun
}

// TestCardLostDuringTransmit: the card may have run the command, whatever took it away.
func TestCardLostDuringTransmit(t *testing.T) {
	for _, within := range []bool{false, true} {
		t.Run(fmt.Sprintf("within a transaction: %v", within), func(t *testing.T) {
			b := newBed(t)
			begun := b.insertTelling()
			card := b.connect(cardbroker.ShareShared)
			if within {
				b.want("Begin", card.Begin(), "")
			}
			b.want("Transmit", b.during(begun, card, func() { b.Pull(0) }), cardbroker.Indeterminate)
			b.remove()
			b.want("the next Transmit", transmit(card), cardbroker.CardRemoved)
			_, err := b.readers.Connect(b.name, cardbroker.ShareShared)
			b.want("Connect", err, cardbroker.CardAbsent)
			b.insert(pcscbed.Card{ATR: otherATR})
			b.want("Transmit after another card is in", transmit(card), cardbroker.CardRemoved)
			b.works()
		})
	}
}

// TestServiceLostDuringTransmit: likewise. The next use finds the next service.
func TestServiceLostDuringTransmit(t *testing.T) {
	b := newBed(t)
	begun := b.insertTelling()
	card := b.connect(cardbroker.ShareShared)
	b.want("Begin", card.Begin(), "")
	b.want("Transmit", b.during(begun, card, b.Kill), cardbroker.Indeterminate)
	b.want("the next Transmit", transmit(card), cardbroker.CardRemoved)
	if err := b.StartService(b.ctx); err != nil {
		t.Fatal(err)
	}
	b.insert(pcscbed.Card{})
	b.want("Transmit of the old connection", transmit(card), cardbroker.CardRemoved)
	b.want("End of its transaction", card.End(cardbroker.LeaveCard), cardbroker.CardRemoved)
	b.want("its Disconnect", card.Disconnect(cardbroker.ResetCard), "")
	b.works()
}

// TestServiceLostWhileIdle: who watches knows that a command never left, and need not say Indeterminate.
func TestServiceLostWhileIdle(t *testing.T) {
	b := newBed(t)
	b.insert(pcscbed.Card{})
	w := b.follow()
	w.complete()
	card := b.connect(cardbroker.ShareShared)
	b.want("Transmit", transmit(card), "")
	b.Kill()
	w.next(callLimit)
	w.next(callLimit)
	b.want("Transmit", transmit(card), cardbroker.CardRemoved)
}

// TestServiceLostWhileWaiting: whoever waits for another's transaction does not wait for ever.
func TestServiceLostWhileWaiting(t *testing.T) {
	b := newBed(t)
	begun := b.insertTelling()
	one, other := b.connect(cardbroker.ShareShared), b.connect(cardbroker.ShareShared)
	b.want("Begin", one.Begin(), "")
	waiting := b.begin(other.Begin)
	connecting := b.begin(func() error {
		_, err := b.readers.Connect(b.name, cardbroker.ShareShared)
		return err
	})
	b.want("Transmit", b.during(begun, one, b.Kill), cardbroker.Indeterminate)
	if err := b.wait("Begin", waiting); err == nil {
		t.Error("Begin of a connection whose service has ended = nil, want an error")
	}
	b.want("Connect", b.wait("Connect", connecting), cardbroker.Unavailable)
}

// TestReplaced: another card of any kind is another connection.
func TestReplaced(t *testing.T) {
	b := newBed(t)
	b.insert(pcscbed.Card{})
	w := b.follow()
	w.complete()
	card := b.connect(cardbroker.ShareShared)
	b.want("Begin", card.Begin(), "")
	b.remove()
	b.insert(pcscbed.Card{ATR: otherATR})
	w.wants(b.name+": empty", b.name+": T1 "+otherATR)
	b.want("Transmit", transmit(card), cardbroker.CardRemoved)
	next := b.connect(cardbroker.ShareShared)
	if info := next.Info(); fmt.Sprintf("%X", info.ATR) != otherATR {
		t.Errorf("Info() = %X, want %s", info.ATR, otherATR)
	}
	b.works()
	// A reset that another connection makes of the new card must not make the old connection good again: the service
	// remembers one thing for each connection, and the reset would be the last.
	b.want("Begin", next.Begin(), "")
	b.want("End with a reset", next.End(cardbroker.ResetCard), "")
	b.want("Transmit of the old connection", transmit(card), cardbroker.CardRemoved)
}

// TestResetDuringTransmit: a reset waits for the command, and is told after it.
func TestResetDuringTransmit(t *testing.T) {
	b := newBed(t)
	begun := b.insertTelling()
	card, other := b.connect(cardbroker.ShareShared), b.connect(cardbroker.ShareShared)
	var resetting <-chan error
	err := b.during(begun, card, func() {
		resetting = b.begin(func() error { return other.Disconnect(cardbroker.ResetCard) })
	})
	b.want("Transmit", err, "")
	b.want("Disconnect with a reset", b.wait("Disconnect", resetting), "")
	b.want("the next Transmit", transmit(card), cardbroker.CardReset)
	b.want("the one after it", transmit(card), "")
}

// TestConnectFaults connects while the card, or the service, comes and goes: it may fail, with a reason that says so, but it
// returns, and afterwards all works.
func TestConnectFaults(t *testing.T) {
	b := newBed(t)
	faults := []struct {
		name string
		do   func()
	}{
		{"pulled", func() { b.Pull(0) }},
		{"inserted", func() {
			b.Pull(0)
			b.insert(pcscbed.Card{})
		}},
		{"killed", b.Kill},
		{"restarted", func() {
			b.Kill()
			if err := b.StartService(b.ctx); err != nil {
				t.Error(err)
			}
		}},
	}
	for _, fault := range faults {
		t.Run(fault.name, func(t *testing.T) {
			b.insert(pcscbed.Card{})
			stop, ended := make(chan struct{}), make(chan error, 1)
			go func() { ended <- b.hammer(stop) }()
			fault.do()
			close(stop)
			if err := b.wait("Connect", ended); err != nil {
				t.Error(err)
			}
			b.Kill()
			if err := b.StartService(b.ctx); err != nil {
				t.Fatal(err)
			}
			b.insert(pcscbed.Card{})
			b.works()
			b.remove()
		})
	}
}

// hammer connects, sends a command and disconnects until it is stopped. It returns the first error that is none of those
// that a card or service that comes and goes may cause.
func (b *bed) hammer(stop <-chan struct{}) error {
	for {
		card, err := b.readers.Connect(b.name, cardbroker.ShareShared)
		if err == nil {
			err = transmit(card)
			card.Disconnect(cardbroker.LeaveCard)
		}
		switch cardbroker.ReasonOf(err) {
		case "", cardbroker.CardAbsent, cardbroker.CardRemoved, cardbroker.CardReset, cardbroker.CardMute, cardbroker.Indeterminate,
			cardbroker.Unavailable, cardbroker.ReaderUnknown:
		default:
			return err
		}
		select {
		case <-stop:
			return nil
		default:
		}
	}
}

// TestMute: a card that gives no ATR is there and cannot be connected to, but the reader can.
func TestMute(t *testing.T) {
	b := newBed(t)
	b.insert(pcscbed.Card{Mute: true})
	if !b.follow().complete()[b.name+": mute"] {
		t.Error("the list does not tell of a mute card")
	}
	for _, share := range []cardbroker.ShareMode{cardbroker.ShareShared, cardbroker.ShareExclusive} {
		_, err := b.readers.Connect(b.name, share)
		b.want("Connect to a mute card", err, cardbroker.CardMute)
	}
	direct := b.connect(cardbroker.ShareDirect)
	b.want("Disconnect", direct.Disconnect(cardbroker.LeaveCard), "")
	b.remove()
	b.insert(pcscbed.Card{})
	b.works()
}

// TestAttributes asks for what every reader and card has.
func TestAttributes(t *testing.T) {
	b := newBed(t)
	direct := b.connect(cardbroker.ShareDirect)
	name, err := direct.Attribute(0x7FFF0003)
	if err != nil || string(name) != b.name+"\x00" {
		t.Errorf("Attribute(the friendly name) = %q, %v, want %q", name, err, b.name+"\x00")
	}
	_, err = direct.Attribute(0x90303)
	b.want("Attribute(the ATR) without a card", err, cardbroker.Unsupported)
	b.insert(pcscbed.Card{})
	atr, err := b.connect(cardbroker.ShareShared).Attribute(0x90303)
	if err != nil || fmt.Sprintf("%X", atr) != softATR {
		t.Errorf("Attribute(the ATR) = %X, %v, want %s", atr, err, softATR)
	}
}

// TestNames: what cannot be a reader's name never reaches the service.
func TestNames(t *testing.T) {
	b := newBed(t)
	long := make([]byte, 200)
	for i := range long {
		long[i] = 'x'
	}
	for _, name := range []string{"", b.name + "\x00", "\x00", string(long), "no such reader"} {
		_, err := b.readers.Connect(name, cardbroker.ShareShared)
		b.want(fmt.Sprintf("Connect(%.20q)", name), err, cardbroker.ReaderUnknown)
	}
}

// TestLargeAPDUs: nothing between here and the card is smaller than the largest that the virtual reader carries.
func TestLargeAPDUs(t *testing.T) {
	b := newBed(t)
	b.insert(pcscbed.Card{})
	card := b.connect(cardbroker.ShareShared)
	for _, n := range []int{1, 256, 4096, 65_000} {
		echo := append([]byte{0x80, 0xEE, 0, 0, 0, byte(n >> 8), byte(n)}, make([]byte, n)...)
		got, err := card.Transmit(nil, echo)
		if err != nil || len(got) != n+2 {
			t.Errorf("echo of %d bytes = %d bytes, %v", n, len(got), err)
		}
	}
}
