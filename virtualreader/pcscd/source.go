// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcscd

import (
	"context"

	"github.com/cardbroker/cardbroker"
)

// Source is where readers come from. Its methods may be called from several goroutines.
type Source interface {
	// Watch tells emit of each reader and card that is there, then with a zero Event that this was all, then of every
	// change, until ctx ends. It calls emit from one goroutine at a time and returns ctx's error, or why it cannot watch
	// any more.
	Watch(ctx context.Context, emit func(Event)) error

	// Connect opens the one connection that the server holds to a reader's card while any client has one: shared, or
	// direct as long as all clients want the reader alone. What happened in the reader before that was told to emit when
	// it returns. It is called while Watch runs. Errors: any; [Code] says what clients make of them.
	Connect(ctx context.Context, reader string, share cardbroker.ShareMode) (Card, error)
}

// Event is what a reader has become. It stands for itself: whoever missed earlier ones of the same reader needs none. One
// that tells nothing new changes nothing: a card that took the place of its like is told as absent first.
type Event struct {
	Reader  string           // 1 to 127 bytes
	Present bool             // the reader itself is there
	Card    *cardbroker.Card // nil: none inside; an empty ATR: one that is mute; not changed after the call
}

// Card is the connection to a reader's card. The server calls one of its methods at a time, and none after Disconnect.
//
// CardReset is told once: the connection is good again after it. After CardRemoved, CardAbsent, ReaderUnknown and
// Unavailable the server disconnects it; clients have to connect anew. Whatever happened to a command, the server never
// sends it again.
type Card interface {
	// Info returns the card's ATR, which must not be changed, and the active protocol.
	Info() cardbroker.Card

	// Transmit sends a command APDU of 4 to 65,544 bytes and appends the response APDU, 2 to 65,538 bytes, to dst. The
	// error Indeterminate, and Timeout and Canceled as well, say that the card may have seen the command; every other
	// error, ReaderBusy above all, that it has not.
	Transmit(ctx context.Context, dst, command []byte) ([]byte, error)

	// Disconnect ends the connection, its transaction with it, and does d with the card.
	Disconnect(ctx context.Context, d cardbroker.Disposition) error

	Extras
}

// Extras is what a connection to a card does besides.
type Extras interface {
	Transaction
	Device
}

// Transaction keeps other programs, those at the far end included, from the card. The server does not nest transactions.
type Transaction interface {
	// Begin starts one. ReaderBusy: another program has one; clients ask again by themselves.
	Begin(ctx context.Context) error
	// End ends it and does d with the card.
	End(ctx context.Context, d cardbroker.Disposition) error
}

// Device is the reader itself. What it does not do, or policy does not let it do, is Unsupported or Forbidden.
type Device interface {
	// Control sends a request to the reader, PC/SC Part 10 §2.2, and appends its answer to dst.
	Control(ctx context.Context, dst []byte, code uint32, in []byte) ([]byte, error)
	// Attribute returns an attribute of the reader, PC/SC Part 3 §3.1.2: those that the server does not know itself.
	Attribute(ctx context.Context, id uint32) ([]byte, error)
}
