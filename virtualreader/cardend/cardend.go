// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package cardend is the user's end of a tunnel: it holds the card for a back end. It owns the leases ([Leases]), the
// order of a back end's frames, each of which is executed once, and the firewall. A lease outlives its connection for a while,
// and by its journal also the process; the back end comes back with a resume token. The package never opens a connection and
// never sees PC/SC: tunnels and cards are given to it.
package cardend

import (
	"context"
	"encoding/hex"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/firewall"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/journal"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// Cards opens cards by the name of their reader. The agent's sandbox does, and so does a software card.
type Cards interface {
	// Open connects to the card. It is ReaderUnknown, CardAbsent, ReaderBusy, CardMute or Unavailable.
	Open(ctx context.Context, reader string, share cardbroker.ShareMode) (Card, error)
}

// Card is a connected card. One goroutine uses it. After CardRemoved, CardReset, Indeterminate or Unavailable only Close
// is called: what comes next belongs to another card, or to this one in another state.
type Card interface {
	Info() cardbroker.Card
	// Transmit appends the response APDU to dst and returns it with the time that the card took. It cannot be stopped
	// once the card has the command; ctx ends when the agent does.
	Transmit(ctx context.Context, dst, command []byte) (response []byte, card time.Duration, err error)
	// Close ends the connection, and the transaction if there is one.
	Close(d cardbroker.Disposition) error
	Transaction
	Device
}

// Device is what a reader can do besides its card.
type Device interface {
	// Control calls the function of the reader that code names, as pcsc-lite numbers them, and appends what it returns to
	// dst. It is Unsupported where the reader has no such function.
	Control(ctx context.Context, dst []byte, code uint32, input []byte) ([]byte, error)
	// Attribute returns an attribute, PC/SC Part 3 §3.1.2. It is Unsupported where there is none of that number.
	Attribute(ctx context.Context, id uint32) ([]byte, error)
}

// Transaction keeps everybody else from the card between Begin and End.
type Transaction interface {
	Begin(ctx context.Context) error
	End(ctx context.Context, d cardbroker.Disposition) error
}

// Conn is a tunnel's connection to the back end. Any number of goroutines may call Send. A socket.Conn is one.
type Conn interface {
	wire.Conn
	// Shutdown tells the other side why the tunnel ends, and makes Receive end soon. Only the first call counts.
	Shutdown(why error)
}

// TunnelID names a tunnel in the logs of both sides.
type TunnelID [16]byte

// ParseTunnelID reads 32 hexadecimal digits. Anything else is Invalid.
func ParseTunnelID(text string) (TunnelID, error) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != len(TunnelID{}) {
		return TunnelID{}, cardbroker.Errorf(cardbroker.Invalid, "a tunnel's id is not %d hexadecimal digits", 2*len(TunnelID{}))
	}
	return TunnelID(raw), nil
}

// String returns 32 hexadecimal digits.
func (id TunnelID) String() string { return hex.EncodeToString(id[:]) }

// Tunnel says for whom [Holder.Serve] holds which reader.
type Tunnel struct {
	ID      TunnelID
	Tenant  cardbroker.Tenant
	Method  string        // how the tenant has shown who it is: token, certificate or jwt
	Backend string        // the back end's address and port, for people
	Reader  string        // the reader's name
	Epoch   uint64        // the reader's card epoch at the beginning; later on Epochs says
	Epochs  func() uint64 // nil: it stays

	Route      cardbroker.Route      // of the agent, for the resume token; empty: the lease ends with its connection
	Durability cardbroker.Durability // at least this
	LeaseMax   time.Duration         // of the lease from its beginning, however often it is renewed; 0: no limit
	Origin     cardbroker.Origin     // of the web page that offered the reader; empty: a program of the user
	Standing   bool                  // machine policy offers the reader for good

	PIN      cardbroker.PINMode
	Firewall *firewall.Rules // nil: all that no tenant is forbidden
	// Refused is told what the firewall refuses, and how many commands by the same rule since it was told last: not of each, where there are
	// many. It waits for nobody. Nil: nobody is told.
	Refused func(id TunnelID, count uint64, why error)
	Asker   Asker    // with PINAgent; nil: nobody can be asked
	Control []uint32 // the reader's functions that the back end may call, as pcsc-lite numbers them

	// Changed has a value when the card in the reader may be another than before; Present then says which, nil for none. A
	// card that was put in anew is another pointer, though it may be the same card.
	// Changed has capacity 1: who changes something and finds it full has nothing to do. The first is
	// told in any case. Both nil: no events are sent.
	Changed <-chan struct{}
	Present func() *cardbroker.Card

	// Report is told what the tunnel's commands took, every 30 s at most; it must not block. nil: nobody wants to know.
	Report func(api.Usage)
}

// Holder serves the tunnels of one agent.
type Holder struct {
	cards    Cards
	leases   *Leases
	journals journal.Folder
}

// New returns a holder of cards. Somebody else runs leases.
func New(cards Cards, leases *Leases) *Holder {
	return &Holder{cards: cards, leases: leases}
}

// Keep has the journals of the leases kept in the folder, so that they outlive this process; without, they outlive cut
// connections only. It is called before the first Serve.
func (h *Holder) Keep(folder journal.Folder) { h.journals = folder }
