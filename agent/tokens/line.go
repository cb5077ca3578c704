// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package tokens

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/child"
	"github.com/cardbroker/cardbroker/internal/token"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// line is the stream of a slot, or that of the module itself. It belongs to who has the turn.
type line struct {
	*child.Line
	tokens  *Tokens
	process *process
	turn    chan struct{} // capacity 1: one inside while somebody has the turn
	owes    atomic.Int64  // since when it owes an answer, in ns since 1970; 0: it owes none, or waits for its user

	// Owned by the loop.
	queued int  // who has the turn or waits for it
	late   bool // an answer is due that nobody waits for
}

// maxQueued is how many may wait for a slot, besides who has its turn.
const maxQueued = 8

var (
	errEnded    = errors.New("the module has ended before it was asked")
	errUnlisted = errors.New("the module was not asked for its slots yet")
)

// call is a question on its way.
type call struct {
	text    []byte // as JSON
	secrets []cardbroker.Secret
	entered bool // at the reader or in a dialog of the module's: the answer waits for the user
	spends  bool // it may spend a try of a PIN, or do what must not be done twice
}

// answer is what came, and where from.
type answer struct {
	token.Answer
	line *line
}

// ask has back ends make way for a question to the slot of that description, or for a list of slots if it is empty, waits for the turn
// of the line that find names, and asks. find runs in the loop while the process is up. The errors are those of [Tokens.Do]; and
// errEnded, errUnlisted.
func (t *Tokens) ask(ctx context.Context, name, slot string, c call, find func(*process) (*line, error)) (answer, error) {
	giveBack, err := t.lend(ctx, name, slot)
	if err != nil {
		return answer{}, err
	}
	l, err := t.take(ctx, name, find)
	if err != nil {
		giveBack()
		return answer{}, err
	}
	a, late, err := l.exchange(ctx, t.cfg.CallLimit, c)
	if late != nil {
		l.leaveLate(*late, giveBack)
		return answer{}, err
	}
	giveBack()
	l.leave(true)
	return answer{a, l}, err
}

// take waits for the turn of a line.
func (t *Tokens) take(ctx context.Context, name string, find func(*process) (*line, error)) (l *line, err error) {
	err = t.whenReady(ctx, name, func(m *module) (err error) {
		if l, err = find(m.process); err == nil {
			err = l.queue()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := l.await(ctx); err != nil {
		l.leave(false)
		return nil, err
	}
	return l, nil
}

// lend has back ends make way for a module with PC/SC.
func (t *Tokens) lend(ctx context.Context, name, slot string) (giveBack func(), err error) {
	for _, m := range t.cfg.Modules {
		if m.Name == name && m.PCSC {
			return t.cfg.Lend(ctx, slot)
		}
	}
	return func() {}, nil
}

// queue takes a place in the queue.
func (l *line) queue() error {
	switch {
	case l.late:
		return cardbroker.Errorf(cardbroker.ReaderBusy, "the slot has not answered a question that somebody left")
	case l.queued > maxQueued:
		return cardbroker.Errorf(cardbroker.ReaderBusy, "%d others wait for the slot", maxQueued)
	}
	l.queued++
	l.process.Uses++
	return nil
}

// await waits for the turn. Those who wait get it in the order in which they came.
func (l *line) await(ctx context.Context) error {
	select {
	case l.turn <- struct{}{}:
		return nil
	case <-l.process.Ended():
		return l.lost(call{}, false, errEnded)
	case <-ctx.Done():
		if err := child.Asked(ctx); cardbroker.ReasonOf(err) == cardbroker.Canceled {
			return err
		}
		return cardbroker.Errorf(cardbroker.ReaderBusy, "others use the slot; try again")
	}
}

// leave leaves the queue, and the turn if that is ours.
func (l *line) leave(turn bool) {
	if turn {
		l.Rest()
		<-l.turn
	}
	l.tokens.tell(func(*state) { l.queued--; l.process.Uses-- })
}

// due is an answer that nobody waits for any more.
type due struct {
	limit     time.Time
	gathering wire.Gathering // its frames until now
}

// exchange sends a question and waits for its answer. If ctx ends before the limit, the error says so, and what is due belongs to
// the caller, with the turn. After any other error on the stream the process is at its end.
func (l *line) exchange(ctx context.Context, limit time.Duration, c call) (token.Answer, *due, error) {
	d := due{time.Now().Add(limit), wire.Gathering{Max: token.MaxJSON}}
	if err := l.send(ctx, d.limit, c); err != nil {
		if errors.Is(err, child.ErrLeft) {
			return token.Answer{}, nil, child.Asked(ctx)
		}
		l.process.Stop() // the stream may hold half a frame
		return token.Answer{}, nil, l.lost(c, false, err)
	}
	h, payload, err := l.receive(&d.gathering)
	if child.IsTimeout(err) && time.Now().Before(d.limit) {
		return token.Answer{}, &d, child.Asked(ctx)
	}
	if err != nil {
		return token.Answer{}, nil, l.broken(c, true, err)
	}
	a, refused, err := parse(h, payload)
	if err != nil {
		return token.Answer{}, nil, l.broken(c, true, err)
	}
	if refused != nil {
		return token.Answer{}, nil, refused
	}
	return a, nil, nil
}

// send sends the secrets and then the question, all at once. The stream overwrites what it has sent.
func (l *line) send(ctx context.Context, limit time.Time, c call) error {
	seq, err := l.Ask(ctx, limit)
	if err != nil {
		return err
	}
	for _, s := range c.secrets {
		l.Hold(wire.Header{Type: wire.TypeSecret, Seq: seq}, s.Reveal())
	}
	if !c.entered {
		l.owes.Store(time.Now().UnixNano())
	}
	return wire.SendFrames(l, wire.Header{Type: wire.TypeCall, Seq: seq}, c.text)
}

// receive reads frames until the answer is whole.
func (l *line) receive(g *wire.Gathering) (wire.Header, []byte, error) {
	for {
		h, payload, err := l.Answer()
		whole := false
		if err == nil {
			h, payload, whole, err = g.Gather(h, payload)
		}
		if err != nil || whole {
			if whole {
				l.owes.Store(0)
			}
			return h, payload, err
		}
	}
}

// parse reads an answer: it is one, or refused, or the process breaks the protocol.
func parse(h wire.Header, payload []byte) (a token.Answer, refused *cardbroker.Error, err error) {
	switch h.Type {
	case wire.TypeReturn:
		d := json.NewDecoder(bytes.NewReader(payload))
		d.DisallowUnknownFields()
		if err := d.Decode(&a); err != nil {
			return a, nil, cardbroker.Wrapf(err, cardbroker.Internal, "its answer is malformed")
		}
		return a, nil, nil
	case wire.TypeError:
		refused, err = wire.ParseError(payload)
		return a, refused, err
	}
	return a, nil, cardbroker.Errorf(cardbroker.Internal, "an answer has the type %d", h.Type)
}

// leaveLate passes the turn to a goroutine that takes the answer nobody waits for, or ends the process when there is none within
// the limit, and only then gives the cards back.
func (l *line) leaveLate(d due, giveBack func()) {
	job := func(context.Context) error {
		err := l.Unattended(d.limit)
		if err == nil {
			_, _, err = l.receive(&d.gathering)
		}
		if err != nil {
			l.broken(call{}, false, err)
			<-l.process.Ended() // until then it is still at it
		}
		giveBack()
		l.leave(true)
		return l.tokens.tell(func(*state) { l.late = false })
	}
	err := l.tokens.tell(func(st *state) {
		l.late = true
		st.group.Go("late answer", job)
	})
	if err != nil { // all ends
		giveBack()
		<-l.turn
	}
}

// broken ends the process after an answer that is no good, or that did not come, and returns what became of the call.
func (l *line) broken(c call, sent bool, err error) error {
	l.process.Fail(err)
	return l.lost(c, sent, err)
}

// lost says that the process is at its end, and returns what became of the call.
func (l *line) lost(c call, sent bool, err error) error {
	l.tokens.tell(func(st *state) {
		if m := st.module(l.process.module); m != nil {
			m.life.Fails(l.process.Process)
		}
	})
	switch {
	case !sent:
		return cardbroker.Wrapf(fmt.Errorf("%w: %w", errEnded, err), cardbroker.Unavailable, "the module %s has ended; try again", l.process.module)
	case c.spends:
		return cardbroker.Wrapf(err, cardbroker.Indeterminate, "the module %s ended while it was asked; it may have used the PIN or the key", l.process.module)
	}
	return cardbroker.Wrapf(err, cardbroker.Unavailable, "the module %s ended while it was asked; try again", l.process.module)
}
