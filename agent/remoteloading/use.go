// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package remoteloading

import (
	"context"
	"time"

	"github.com/cardbroker/cardbroker"
)

// call is who asks, for which reader.
type call struct {
	reader  cardbroker.Reader
	origin  cardbroker.Origin // of the page that asks; empty: a program of the user's
	session cardbroker.Secret // empty: the call is by itself
}

// use is a card in the hands of one call.
type use struct {
	Card
	chained bool // the last command was not the last of its chain
}

// with has a call use the card, of its session or by itself.
func (l *Loader) with(ctx context.Context, c *call, do func(context.Context, *use) error) error {
	inside, leave, err := l.cfg.Enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if c.session.Empty() {
		card, err := l.turn(inside, c)
		if err != nil {
			return err
		}
		defer card.Close(cardbroker.LeaveCard) // reset, if it was sent anything
		return do(inside, &use{Card: card})
	}
	s, err := l.take(inside, c)
	if err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(inside)
	defer end(nil)
	stop := context.AfterFunc(s.ctx, func() { end(context.Cause(s.ctx)) })
	defer stop()
	u := &use{Card: s.card, chained: s.chained}
	err = do(ctx, u)
	s.chained = u.chained
	l.give(s, err)
	return err
}

// turn takes the reader for a call.
func (l *Loader) turn(ctx context.Context, c *call) (Card, error) {
	if err := l.cfg.Free(c.reader.Name); err != nil {
		return nil, err
	}
	card, err := l.cfg.Turn(ctx, c.reader.Name)
	if cardbroker.ReasonOf(err) == cardbroker.ReaderBusy {
		return nil, l.held(c, err)
	}
	return card, err
}

// held says who has the reader, if it is one of ours. A page learns nothing of another.
func (l *Loader) held(c *call, busy error) error {
	for _, h := range *l.view.Load() {
		if h.reader != c.reader.Name {
			continue
		}
		who := "another page or program of the user's"
		switch {
		case h.origin == c.origin && c.origin != "":
			who = "this page"
		case h.origin == c.origin:
			who = "a program of the user's"
		case c.origin == "":
			who = string(h.origin)
		}
		return cardbroker.Errorf(cardbroker.ReaderBusy, "a session of %s has the reader, until %s at the latest", who, h.last.In(time.Local).Format("15:04"))
	}
	return busy
}

// transmit sends a command. Of one whose answer nobody waits for any more it is not known whether it has run.
func (u *use) transmit(ctx context.Context, dst, command []byte) ([]byte, time.Duration, error) {
	if why := context.Cause(ctx); why != nil {
		return dst, 0, why
	}
	response, took, err := u.Transmit(ctx, dst, command)
	return response, took, abandoned(ctx, err)
}

// control calls a function of the reader that may reach the card.
func (u *use) control(ctx context.Context, code uint32, input []byte) ([]byte, error) {
	if why := context.Cause(ctx); why != nil {
		return nil, why
	}
	answer, err := u.Control(ctx, nil, code, input)
	return answer, abandoned(ctx, err)
}

// abandoned returns the error of a command that was under way when ctx ended.
func abandoned(ctx context.Context, err error) error {
	switch cardbroker.ReasonOf(err) {
	case cardbroker.Canceled, cardbroker.Timeout:
		return cardbroker.Wrapf(err, cardbroker.Indeterminate, "the command may have run: %s", whyEnded(ctx))
	}
	return err
}

// whyEnded says why nobody waits any more, for people.
func whyEnded(ctx context.Context) string {
	switch why := context.Cause(ctx); cardbroker.ReasonOf(why) {
	case cardbroker.Canceled:
		return "the asker left before its answer"
	case cardbroker.Timeout:
		return "its answer did not come in time"
	case cardbroker.SessionUnknown:
		return "the session has ended before its answer"
	case cardbroker.CardRemoved:
		return "the card was removed"
	}
	return "it was not waited for"
}
