// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build cgo && !windows

package pcsc

import (
	"github.com/ebfe/scard"

	"github.com/cardbroker/cardbroker"
)

// hangUp ends the transaction and does d with the card. The end of the context then ends the connection.
//
// SCardDisconnect is never called. When it has succeeded, libpcsclite (1.9.9, and who knows since when) looks its handle up in
// the list of all contexts without the lock of that list: while another thread establishes or releases a context it
// follows a pointer to nowhere. Once in some 8,000 starts that was the end of the process.
func (c *connection) hangUp(d cardbroker.Disposition) error {
	for ; c.begun > 1; c.begun-- {
		if err := c.card.EndTransaction(scard.LeaveCard); err != nil {
			break
		}
	}
	d = min(d, cardbroker.UnpowerCard) // no reader ejects, and pcsc-lite unpowers instead
	if c.begun > 0 {                   // nobody comes between the card and what is done with it
		if err := c.card.EndTransaction(scard.Disposition(d)); err != nil || c.share != cardbroker.ShareExclusive {
			return notReset(err)
		}
		d = cardbroker.LeaveCard
	}
	if d != cardbroker.LeaveCard {
		if err := c.card.Reconnect(scard.ShareMode(c.share), c.protocols(), scard.Disposition(d)); err != nil {
			return notReset(err)
		}
	}
	if c.share != cardbroker.ShareExclusive {
		return nil
	}
	// A context that ends with an exclusive connection resets the card, as it does one that ends in a transaction: an exclusive
	// connection is in one of its own, which outlasts its becoming shared.
	if err := c.card.Reconnect(scard.ShareShared, c.protocols(), scard.LeaveCard); err != nil {
		return notReset(err)
	}
	err := c.card.EndTransaction(scard.LeaveCard)
	if codeOf(err) == codeNotTransacted { // it did not outlast it
		return nil
	}
	return notReset(err)
}

// notReset returns err, unless it says that the card was reset meanwhile: then nothing of ours is left in it.
func notReset(err error) error {
	if codeOf(err) == codeReset {
		return nil
	}
	return err
}

// leave does nothing: a connection that did nothing with a card ends with its context.
func leave(*scard.Card) {}
