// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cards

import (
	"context"
	"time"

	"github.com/cardbroker/cardbroker"
)

// closeWait is how long Close waits for a card that is busy.
const closeWait = 5 * time.Second

// Close does d with the card and ends the connection and its transaction. While a command of an asker that left is still
// with the card, that happens later and Close returns Timeout after 5 s. A second Close does nothing, and so does one
// after the child has ended. A local program's turn ends so, and resets the card whatever d is if it has sent it anything.
func (c *Card) Close(d cardbroker.Disposition) error {
	if c.closed.Swap(true) {
		return nil
	}
	timer := time.NewTimer(closeWait)
	defer timer.Stop()
	select {
	case err := <-c.disconnect(d):
		return err
	case <-timer.C:
		return cardbroker.Errorf(cardbroker.Timeout, "the card is busy; it is closed when it has answered")
	}
}

// disconnect waits for its turn, ends the connection and gives the reader free, in a goroutine of the sandbox's group.
func (c *Card) disconnect(d cardbroker.Disposition) <-chan error {
	done := make(chan error, 1)
	job := func(ctx context.Context) error {
		err := c.finish(ctx, d)
		c.giveUp()
		if cardbroker.ReasonOf(err) == cardbroker.CardReset { // the connection has ended before
			err = nil
		}
		done <- err
		return nil
	}
	if err := c.sandbox.tell(func(st *state) { st.group.Go("close card", job) }); err != nil {
		done <- nil // the sandbox ends, and the connection with it
	}
	return done
}

// finish ends the connection when no call runs any more, which is within the limit of a call, or the sandbox ends.
func (c *Card) finish(ctx context.Context, d cardbroker.Disposition) error {
	select {
	case c.calls <- struct{}{}:
	case <-ctx.Done():
		return nil
	}
	if !c.kept {
		select {
		case c.link.turn <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
	}
	c.ending = true
	if c.party == local && c.sent {
		d = cardbroker.ResetCard
		c.link.cutHolder()
	}
	if c.link.holder == c {
		c.link.holder = nil
	}
	if c.lent {
		if err := c.attach(context.Background()); err != nil {
			return err
		}
	}
	if c.connected {
		if err := c.detach(context.Background(), d); err != nil {
			return err
		}
	}
	c.leave()
	return nil
}

// giveUp lets others have the reader.
func (c *Card) giveUp() {
	c.sandbox.tell(func(*state) {
		if c.party == local {
			c.link.turns--
		} else {
			c.link.claimed, c.link.sole = false, false
		}
		c.link.process.Uses--
	})
}
