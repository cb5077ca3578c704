// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"context"

	"github.com/cardbroker/cardbroker"
)

// Readers is where cards come from: PC/SC, or software. Its methods may be called from several goroutines.
type Readers interface {
	// Watch tells emit of each reader and card that is there, then with a zero Event that this was all, then of every
	// change, until ctx ends. It calls emit from one goroutine at a time and returns ctx's error, or why it cannot watch
	// any more.
	Watch(ctx context.Context, emit func(Event)) error

	// Connect opens a connection to the card in the named reader; a direct one is to the reader, with or without a card. Errors: ReaderUnknown, ReaderBusy (another connection
	// is exclusive, or share asks for that), CardAbsent, CardMute, Invalid (the share mode).
	Connect(name string, share cardbroker.ShareMode) (Card, error)
}

// Event is what a reader has become. It stands for itself: whoever missed earlier ones of the same reader needs none.
type Event struct {
	Reader  string           // the reader's name, as PC/SC names it
	PINPad  bool             // PC/SC Part 10: it can ask for a PIN by itself
	Present bool             // the reader itself is there
	Card    *cardbroker.Card // nil: none inside; without an ATR: one that does not answer; not changed after the call
}

// Card is a connection to a card. It has one owner: no two of its methods run at a time.
type Card interface {
	// Info returns the card's ATR, which must not be changed, and the active protocol.
	Info() cardbroker.Card

	// Begin starts a transaction: no other connection reaches the card until End. Errors: ReaderBusy, CardRemoved,
	// CardReset (another connection reset the card; this one is good again after it was told).
	Begin() error

	// End ends the transaction that Begin started and does d with the card.
	End(d cardbroker.Disposition) error

	// Transmit sends the command APDU to the card and appends the response APDU, 2 to 65,538 bytes, to dst. On an error
	// it returns dst as it was. Errors: Invalid (under 4 bytes; the card saw nothing), CardRemoved, CardReset, CardMute.
	Transmit(dst, command []byte) ([]byte, error)

	// Control calls the function of the reader that code names, as pcsc-lite numbers them, and appends what it returns to
	// dst. On an error it returns dst as it was. It needs no card. Errors: Unsupported (the reader has no such function),
	// CardRemoved (the reader), CardReset.
	Control(dst []byte, code uint32, input []byte) ([]byte, error)

	// Attribute returns the attribute of the reader or card that id names, PC/SC Part 3 §3.1.2. Errors: Unsupported (the
	// reader has none of that name), CardRemoved (the reader).
	Attribute(id uint32) ([]byte, error)

	// Disconnect ends the connection, its transaction with it, and does d with the card. Card is not used afterwards.
	Disconnect(d cardbroker.Disposition) error
}
