// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build cgo || windows

package pcsc

import (
	"bytes"

	"github.com/ebfe/scard"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/apdu"
)

// connection is one connection, in a context of its own.
type connection struct {
	readers *Readers
	context *scard.Context
	card    *scard.Card
	name    string
	share   cardbroker.ShareMode
	watch   uint64 // the watch that knows of seat; 0: none did
	seat    seat
	info    cardbroker.Card
	begun   int // transactions within each other
	closed  bool
	lost    bool // the service that it was made with is gone, or the reader or card is
	reset   bool // we reset the card ourselves, and this connection may not have been told yet
}

// The attributes that pcsc-lite does not give for all readers, PC/SC Part 3 §3.1.2 and winscard.h.
const (
	attributeATR          = 0x00090303 // SCARD_ATTR_ATR_STRING
	attributeFriendlyName = 0x7FFF0003 // SCARD_ATTR_DEVICE_FRIENDLY_NAME
)

func (c *connection) Info() cardbroker.Card { return c.info }

// Begin waits in C while another program holds a transaction, and nothing can end that wait.
func (c *connection) Begin() error {
	err := c.call(holding, func() error { return c.card.BeginTransaction() })
	if err == nil {
		c.begun++
	}
	return err
}

func (c *connection) End(d cardbroker.Disposition) error {
	if err := check(d); err != nil {
		return err
	}
	err := c.call(holding, func() error { return c.card.EndTransaction(scard.Disposition(d)) })
	if codeOf(err) == codeNotTransacted {
		return cardbroker.Wrapf(err, cardbroker.Invalid, "no transaction was begun")
	}
	if err == nil {
		c.begun = max(0, c.begun-1)
	}
	c.reset = err == nil && d != cardbroker.LeaveCard
	return err
}

func (c *connection) Transmit(dst, command []byte) ([]byte, error) {
	if n := len(command); n < apdu.MinCommand || n > apdu.MaxCommand {
		return dst, cardbroker.Errorf(cardbroker.Invalid, "a command APDU has %d bytes, want %d to %d", n, apdu.MinCommand, apdu.MaxCommand)
	}
	if c.info.Protocol == cardbroker.ProtocolUndefined {
		return dst, cardbroker.Errorf(cardbroker.Invalid, "a direct connection takes no commands")
	}
	var response []byte
	err := c.call(sending, func() (err error) {
		response, err = c.card.Transmit(command)
		return err
	})
	if err == nil && len(response) < apdu.MinResponse {
		err = cardbroker.Errorf(cardbroker.Indeterminate, "the reader returned %d bytes; the card may have run the command", len(response))
	}
	if err != nil {
		return dst, err
	}
	dst = append(dst, response...)
	clear(response) // it may hold a key
	return dst, nil
}

// Control calls a function of the reader. What the system numbers otherwise than pcsc-lite is translated.
func (c *connection) Control(dst []byte, code uint32, input []byte) ([]byte, error) {
	if code>>16 == 0x4200 { // SCARD_CTL_CODE of pcsc-lite
		code = scard.CtlCode(uint16(code))
	}
	var output []byte
	err := c.call(sending, func() (err error) {
		output, err = c.card.Control(code, input)
		return err
	})
	if refused := explain(err, codeOf(err), holding); cardbroker.ReasonOf(refused) == cardbroker.Unsupported {
		return dst, refused
	}
	if err != nil {
		return dst, err
	}
	dst = append(dst, output...)
	clear(output)
	return dst, nil
}

// Attribute asks the reader's driver, but for what the service knows itself.
func (c *connection) Attribute(id uint32) ([]byte, error) {
	var value []byte
	err := c.call(holding, func() (err error) {
		if id == attributeATR {
			status, err := c.card.Status()
			if err == nil {
				value = status.Atr
			}
			return err
		}
		value, err = c.card.GetAttrib(scard.Attrib(id))
		if id == attributeFriendlyName && codeOf(err) == codeShortBuffer { // pcsc-lite does not say how long it is
			value, err = append([]byte(c.name), 0), nil
		}
		return err
	})
	switch code := codeOf(err); {
	case id == attributeATR && len(value) == 0 && (err == nil || code == codeNoSmartcard):
		return nil, cardbroker.Wrapf(err, cardbroker.Unsupported, "no card is in the reader")
	case code == codeNotTransacted || code == codeShortBuffer: // what pcsc-lite makes of a driver's no
		return nil, cardbroker.Wrapf(err, cardbroker.Unsupported, "the reader has no such attribute")
	case err != nil:
		return nil, err
	}
	return value, nil
}

// Disconnect ends the connection. What is gone already needs no end: that is no error.
func (c *connection) Disconnect(d cardbroker.Disposition) error {
	if c.closed {
		return errClosed()
	}
	if err := check(d); err != nil {
		return err
	}
	c.closed = true
	defer c.context.Release()
	if c.lost {
		return nil
	}
	err := c.hangUp(d)
	switch code := codeOf(err); {
	case err == nil, isLost(code), code == codeNoSmartcard, code == codeUnavailable, code == codeUnknownReader, code == codeRemoved:
		return nil
	default:
		return explain(err, code, holding)
	}
}

// call does something with the connection. If it turns out that the card was reset meanwhile, the connection is made good
// again; the caller is told, unless it was this connection that reset the card. do is called again only after a refusal
// that came before anything reached the card.
func (c *connection) call(at stage, do func() error) error {
	if err := c.usable(); err != nil {
		return err
	}
	err := do()
	if codeOf(err) == codeReset {
		ours := c.reset
		c.reset = false
		if again := c.reconnect(); again != nil {
			return again
		}
		if !ours {
			return explain(err, codeReset, at)
		}
		err = do()
	}
	if err == nil {
		c.reset = false
		return nil
	}
	code := codeOf(err)
	c.lost = c.lost || isLost(code)
	return explain(err, code, at)
}

// usable says whether the connection leads where it led when it was made, as far as the watcher knows. It spares a
// command that would be Indeterminate.
func (c *connection) usable() error {
	if c.closed {
		return errClosed()
	}
	if v := c.readers.view.Load(); v != nil && v.watch == c.watch && c.seat.reader != 0 {
		now := v.seats[c.name]
		if c.share == cardbroker.ShareDirect {
			now.card = c.seat.card // whichever is inside
		}
		c.lost = c.lost || now != c.seat
	}
	if c.lost {
		return cardbroker.Errorf(cardbroker.CardRemoved, "card, reader or PC/SC service was removed; connect again")
	}
	return nil
}

// reconnect makes the connection good again after a reset.
func (c *connection) reconnect() error {
	err := c.card.Reconnect(scard.ShareMode(c.share), c.protocols(), scard.LeaveCard)
	if err == nil {
		err = c.look()
	}
	if codeOf(err) == codeProtoMismatch { // perhaps for a card that is just being removed
		if _, gone := c.card.Status(); gone != nil {
			err = gone
		}
	}
	if err == nil {
		return nil
	}
	code := codeOf(err)
	c.lost = c.lost || isLost(code)
	return explain(err, code, holding)
}

// look asks what card it is. The error is the service's; it is codeProtoMismatch where a connection was made without a protocol.
func (c *connection) look() error {
	c.info = cardbroker.Card{}
	status, err := c.card.Status()
	switch {
	case c.share == cardbroker.ShareDirect && err != nil:
		return nil // there need be no card
	case err != nil:
		return err
	}
	c.info.ATR = bytes.Clone(status.Atr)
	if c.share == cardbroker.ShareDirect {
		return nil
	}
	c.info.Protocol = cardbroker.Protocol(c.card.ActiveProtocol())
	if c.info.Protocol != cardbroker.ProtocolT0 && c.info.Protocol != cardbroker.ProtocolT1 {
		return scard.Error(codeProtoMismatch)
	}
	return nil
}

// protocols returns what is to be negotiated.
func (c *connection) protocols() scard.Protocol {
	if c.share == cardbroker.ShareDirect {
		return scard.ProtocolUndefined
	}
	return scard.ProtocolAny
}

func check(d cardbroker.Disposition) error {
	if d > cardbroker.EjectCard {
		return cardbroker.Errorf(cardbroker.Invalid, "disposition %d, want 0 to 3", d)
	}
	return nil
}

func errClosed() error {
	return cardbroker.Errorf(cardbroker.Invalid, "the connection has ended")
}
