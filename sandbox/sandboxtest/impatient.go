// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package sandboxtest

import (
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/sandbox"
)

// Silence is how long Windows lets a transaction go without a call (SCardBeginTransaction).
const Silence = 5 * time.Second

// Impatient is readers that do as Windows does: a card that is in a transaction, and that nothing is done with for
// [Silence], is reset, and its transaction ends.
type Impatient struct {
	sandbox.Readers
	Calls atomic.Int64 // to cards that are connected, but for Disconnect
}

// Connect implements [sandbox.Readers].
func (i *Impatient) Connect(name string, share cardbroker.ShareMode) (sandbox.Card, error) {
	card, err := i.Readers.Connect(name, share)
	if err != nil {
		return nil, err
	}
	return &impatientCard{Card: card, readers: i}, nil
}

type impatientCard struct {
	sandbox.Card
	readers *Impatient
	begun   int
	last    time.Time // of the last call
}

// call notes a call, and says whether it comes too late.
func (c *impatientCard) call() error {
	c.readers.Calls.Add(1)
	silent := time.Since(c.last)
	c.last = time.Now()
	if c.begun == 0 || silent < Silence {
		return nil
	}
	for ; c.begun > 0; c.begun-- {
		c.Card.End(cardbroker.ResetCard)
	}
	return cardbroker.Errorf(cardbroker.CardReset, "the system reset the card: nothing was done with it for %v", silent)
}

func (c *impatientCard) Begin() error {
	if err := c.call(); err != nil {
		return err
	}
	err := c.Card.Begin()
	if err == nil {
		c.begun++
	}
	return err
}

func (c *impatientCard) End(d cardbroker.Disposition) error {
	if err := c.call(); err != nil {
		return err
	}
	err := c.Card.End(d)
	if err == nil {
		c.begun--
	}
	return err
}

func (c *impatientCard) Transmit(dst, command []byte) ([]byte, error) {
	if err := c.call(); err != nil {
		return dst, err
	}
	return c.Card.Transmit(dst, command)
}

func (c *impatientCard) Control(dst []byte, code uint32, input []byte) ([]byte, error) {
	if err := c.call(); err != nil {
		return dst, err
	}
	return c.Card.Control(dst, code, input)
}

func (c *impatientCard) Attribute(id uint32) ([]byte, error) {
	if err := c.call(); err != nil {
		return nil, err
	}
	return c.Card.Attribute(id)
}
