// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cards

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/child"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// party is on whose behalf a card is used. What one party has left on a card, such as a selected application, a secure
// channel or a verified PIN, the other never finds: the card is reset when it changes hands.
type party int32

const (
	nobody party = iota
	backEnd
	local   // programs and pages of this session
	earlier // an agent before this one, which may have been killed
)

const (
	// maxTurns is how many local programs may have a turn at a reader, or wait for one: as many as may ask at a time.
	maxTurns = 64

	// turnLimit is how long a back end waits for a local program's turn to end; a program's request ends long before.
	turnLimit = time.Minute

	// localLimit is how long a local program waits: less than its request lasts, so that it is told who has the card.
	localLimit = 8 * time.Second
)

// errCut marks a back end's connection that a local program's turn has ended without a trace.
var errCut = errors.New("the connection made way for a local program")

// Turn gives a local program the card in the reader of that name for itself, in a transaction, until [Card.Close]. While a
// back end has the reader in shared mode, it waits until no command of the back end's is under way and the back end holds
// no transaction; the back end's next command then waits. Who comes first has the first turn. The two never find what the
// other has left on the card: where there is something, the card is reset, and the back end's connection is CardReset. A turn that sends the card nothing, while
// the back end has sent it nothing either, is not noticed.
//
// Errors as of [Sandbox.Open]; ReaderBusy at once if the back end has the reader for itself or too many wait, and after 8 s, or at ctx's
// deadline, if it is still not free.
func (s *Sandbox) Turn(ctx context.Context, reader string) (*Card, error) {
	c, err := s.again(func() (*Card, error) { return s.open(ctx, s.newCard(reader, local, cardbroker.ShareShared)) })
	if err != nil {
		return nil, err
	}
	if err := c.Begin(ctx); err != nil {
		c.Close(cardbroker.LeaveCard)
		return nil, err
	}
	return c, nil
}

// Suspect has the card in the reader of that name count as one that a back end has left something on: an earlier process of
// the agent's may have served it.
func (s *Sandbox) Suspect(reader string) error {
	return s.tell(func(st *state) { st.leftOn(reader).Store(int32(backEnd)) })
}

// enter begins a call: it waits for the link's turn, unless that is ours.
func (c *Card) enter(ctx context.Context) error {
	select {
	case c.calls <- struct{}{}:
	default:
		return cardbroker.Errorf(cardbroker.ReaderBusy, "the card is busy with another command")
	}
	if c.kept {
		return nil
	}
	if err := c.await(ctx); err != nil {
		<-c.calls
		return err
	}
	c.link.by.Store(int32(c.party))
	return nil
}

// await waits for the link's turn. Those who wait get it in the order in which they came, as senders on a channel do.
func (c *Card) await(ctx context.Context) error {
	select {
	case c.link.turn <- struct{}{}:
		return nil
	default:
	}
	limit := turnLimit
	if c.party == local {
		limit = localLimit
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case c.link.turn <- struct{}{}:
		return nil
	case <-timer.C:
	case <-ctx.Done():
		if cardbroker.ReasonOf(ctx.Err()) == cardbroker.Canceled {
			return child.Asked(ctx)
		}
	case <-c.link.process.Ended():
		return c.lost(wire.TypeConnect, false, errEnded)
	}
	return c.refuseWait()
}

// leave ends a call. The link's turn stays ours where nobody else is to come between: in a transaction, while the
// connection is not a shared one, and in a local program's turn.
func (c *Card) leave() {
	if c.party == local { // each of whose calls has a context of its own
		c.link.line.Rest()
	}
	c.kept = c.opened && !c.ending && (c.begun > 0 || c.share != cardbroker.ShareShared || c.party == local)
	if !c.kept {
		<-c.link.turn
	}
	<-c.calls
}

// evict ends the back end's connection for a local program's turn. On an error the turn is left.
func (c *Card) evict(ctx context.Context) error {
	h := c.link.holder
	if c.party != local || h == nil || !h.connected {
		return nil
	}
	d := cardbroker.LeaveCard
	h.cut, h.connected = errCut, false
	if party(c.left.Load()) == backEnd {
		d = cardbroker.ResetCard
		c.link.cutHolder()
	}
	return c.detach(ctx, d)
}

// cutHolder has the back end told that its card was reset.
func (l *link) cutHolder() {
	if l.holder != nil {
		l.holder.cut = cardbroker.Errorf(cardbroker.CardReset, "the card was reset for a local program of the user's; connect to it again")
		l.holder.newEpoch()
	}
}

// restore makes a connection again that was cut without a trace. On an error the turn is left.
func (c *Card) restore(ctx context.Context) error {
	if c.cut == nil {
		return nil
	}
	if c.cut != errCut {
		defer c.leave()
		return c.cut
	}
	was := c.info.ATR
	if err := c.attach(ctx); err != nil {
		switch cardbroker.ReasonOf(err) {
		case cardbroker.CardAbsent, cardbroker.ReaderUnknown:
			err = cardbroker.Wrapf(err, cardbroker.CardRemoved, "the card was removed")
		case cardbroker.Unavailable:
			err = cardbroker.Wrapf(err, cardbroker.CardReset, "the sandbox was restarted; connect to the card again")
		}
		return err
	}
	if !bytes.Equal(was, c.info.ATR) {
		defer c.leave()
		return cardbroker.Errorf(cardbroker.CardRemoved, "the card was removed")
	}
	c.cut = nil
	return nil
}

// refuseWait says who had the card for too long, as far as we know.
func (c *Card) refuseWait() error {
	who, until := c.holder()
	switch {
	case party(c.link.by.Load()) == local:
		return cardbroker.Errorf(cardbroker.ReaderBusy, "a local program of this session uses the card; try again")
	case until != "":
		return cardbroker.Errorf(cardbroker.ReaderBusy, "a transaction of %s, which holds the reader until %s, has not ended; try again, or end its lease", who, until)
	}
	return cardbroker.Errorf(cardbroker.ReaderBusy, "a transaction of %s has not ended; try again", who)
}

// RefuseSole says that who shares the reader with nobody, until a time that may be empty: see [Config].
func RefuseSole(who, until string) error {
	if until == "" {
		return cardbroker.Errorf(cardbroker.ReaderBusy, "%s holds the reader for itself", who)
	}
	return cardbroker.Errorf(cardbroker.ReaderBusy, "%s holds the reader for itself until %s; try again then, or end its lease", who, until)
}

// holder names the back end that holds the reader.
func (c *Card) holder() (who, until string) {
	if c.sandbox.cfg.Holder != nil {
		who, until = c.sandbox.cfg.Holder(c.reader)
	}
	if who == "" {
		who = "a back end"
	}
	return who, until
}
