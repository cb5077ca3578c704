// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package remoteloading

import (
	"context"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/loop"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/firewall"
)

// maxRemembered is how many sessions that have ended are remembered, to tell their owners why.
const maxRemembered = 16

// state is what the loop owns.
type state struct {
	loader   *Loader
	group    *run.Group
	sessions []*session
	past     []past         // the newest last
	lapses   uint64         // how often all sessions were ended
	refused  firewall.Tally // by page
	changed  bool
}

var _ loop.Owner[*state] = (*state)(nil)

// name is what a session is found by: its id, and who has it where.
type name struct {
	hash   [32]byte // of the id
	origin cardbroker.Origin
	reader string
}

// session has a reader's turn. While busy is set, one call has the card and chained.
type session struct {
	name
	present *cardbroker.Card
	card    Card
	timeout time.Duration
	ends    time.Time // if nobody calls until then
	last    time.Time // whatever happens
	busy    bool
	gone    bool // it has ended while it was busy

	ctx     context.Context // ends with the session; the cause says why
	end     context.CancelCauseFunc
	chained bool // the last command was not the last of its chain
}

// past is a session that has ended, and that its owner does not know of yet.
type past struct {
	name
	why *cardbroker.Error
}

// is says whether the session is the one that a call is for.
func (n *name) is(c *call) bool {
	return c.session.Matches(n.hash) && n.origin == c.origin && n.reader == c.reader.Name
}

// Begin implements [loop.Owner].
func (st *state) Begin() *state { return st }

// Commit implements [loop.Owner]: it publishes who has which reader.
func (st *state) Commit(context.Context, *state) error {
	if !st.changed {
		return nil
	}
	st.changed = false
	view := make([]holder, len(st.sessions))
	for i, s := range st.sessions {
		view[i] = holder{reader: s.reader, origin: s.origin, last: s.last}
	}
	st.loader.view.Store(&view)
	loop.Signal(st.loader.moved)
	return nil
}

// due is when a session ends by itself.
func (s *session) due() time.Time {
	if s.busy || s.last.Before(s.ends) {
		return s.last
	}
	return s.ends
}

// Deadline implements [loop.Owner].
func (st *state) Deadline() (next time.Time) {
	for _, s := range st.sessions {
		if due := s.due(); next.IsZero() || due.Before(next) {
			next = due
		}
	}
	return next
}

// Tick implements [loop.Owner].
func (st *state) Tick(_ *state, now time.Time) {
	st.drop(ended("its time was over"), func(s *session) bool { return !now.Before(s.due()) })
}

// drop ends some sessions. What runs in one is not sent again; the card is closed once it has ended.
func (st *state) drop(why *cardbroker.Error, which func(*session) bool) {
	kept := st.sessions[:0]
	for _, s := range st.sessions {
		if !which(s) {
			kept = append(kept, s)
			continue
		}
		st.changed, s.gone = true, true
		s.end(why)
		if !s.busy {
			st.close(s)
		}
		st.past = append(st.past, past{s.name, why})
		st.loader.cfg.Record(cardbroker.Event{Name: cardbroker.EventRemoteEnded, Origin: s.origin, Reader: s.reader, Detail: why.Message})
	}
	clear(st.sessions[len(kept):])
	st.sessions = kept
	if over := len(st.past) - maxRemembered; over > 0 {
		st.past = append(st.past[:0], st.past[over:]...)
	}
}

// close closes a session's card, which may take its time.
func (st *state) close(s *session) {
	st.group.Go("close card", func(context.Context) error {
		s.card.Close(cardbroker.ResetCard) // an error is of a card that is gone
		return nil
	})
}

// find returns the session of a call, or why there is none; that is told once.
func (st *state) find(c *call) (*session, error) {
	st.Tick(st, time.Now())
	for _, s := range st.sessions {
		if s.is(c) {
			return s, nil
		}
	}
	for i := range st.past {
		if p := st.past[i]; p.is(c) {
			st.past = append(st.past[:i], st.past[i+1:]...)
			return nil, p.why
		}
	}
	return nil, cardbroker.Errorf(cardbroker.SessionUnknown, "invalid sessionID: the asker has no such session at this reader")
}

// take gives a call its session.
func (l *Loader) take(ctx context.Context, c *call) (s *session, err error) {
	err = l.loop.Do(ctx, func(st *state) error {
		if s, err = st.find(c); err != nil {
			return err
		}
		if s.busy {
			return cardbroker.Errorf(cardbroker.ReaderBusy, "another call of this session is not answered yet")
		}
		s.busy = true
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// give ends a call's use of its session, and with an error of the connection to the card the session.
func (l *Loader) give(s *session, said error) {
	err := l.loop.Must(func(st *state) error {
		s.busy, s.ends = false, time.Now().Add(s.timeout)
		if s.gone {
			st.close(s)
			return nil
		}
		switch cardbroker.ReasonOf(said) {
		case cardbroker.CardRemoved, cardbroker.CardReset, cardbroker.CardMute, cardbroker.Indeterminate, cardbroker.Unavailable:
			st.drop(ended("the connection to the card was lost"), func(other *session) bool { return other == s })
			st.forget(s)
		}
		return nil
	})
	if err != nil { // all ends
		s.card.Close(cardbroker.ResetCard)
	}
}

// forget forgets why a session has ended: its owner was just told.
func (st *state) forget(s *session) {
	for i := range st.past {
		if st.past[i].name == s.name {
			st.past = append(st.past[:i], st.past[i+1:]...)
			return
		}
	}
}

// open has a call's asker have the reader, and returns the id of the session.
func (l *Loader) open(ctx context.Context, c *call, timeout time.Duration) (cardbroker.Secret, error) {
	var lapses uint64
	if err := l.loop.Do(ctx, func(st *state) error { lapses = st.lapses; return nil }); err != nil {
		return cardbroker.Secret{}, err
	}
	present := l.cfg.Present(c.reader.Name)
	if present == nil {
		return cardbroker.Secret{}, cardbroker.Errorf(cardbroker.CardAbsent, "there is no card in the reader: put one in")
	}
	card, err := l.turn(ctx, c)
	if err != nil {
		return cardbroker.Secret{}, err
	}
	id, now := cardbroker.RandomSecret(), time.Now()
	s := &session{
		name: name{hash: id.Hash(), origin: c.origin, reader: c.reader.Name}, present: present, card: card, timeout: timeout,
		ends: now.Add(timeout), last: now.Add(maxTimeout),
	}
	s.ctx, s.end = context.WithCancelCause(context.Background())
	added := false
	err = l.loop.Must(func(st *state) error {
		if why := context.Cause(ctx); why != nil {
			return why
		}
		if st.lapses != lapses {
			return ended("the user has left")
		}
		added, st.changed = true, true
		st.sessions = append(st.sessions, s)
		l.cfg.Record(cardbroker.Event{Name: cardbroker.EventRemoteOpened, Origin: s.origin, Reader: s.reader})
		return nil
	})
	if !added {
		card.Close(cardbroker.LeaveCard)
		return cardbroker.Secret{}, err
	}
	return id, nil
}

// close ends the session of a call.
func (l *Loader) close(ctx context.Context, c *call) error {
	return l.loop.Do(ctx, func(st *state) error {
		s, err := st.find(c)
		if err != nil {
			return err
		}
		st.drop(ended("it was closed"), func(other *session) bool { return other == s })
		st.forget(s)
		return nil
	})
}

// look finds the session of a call that does not need the card; its time begins anew.
func (l *Loader) look(ctx context.Context, c *call) (card cardbroker.Card, err error) {
	err = l.loop.Do(ctx, func(st *state) error {
		s, err := st.find(c)
		if err != nil {
			return err
		}
		s.ends, card = time.Now().Add(s.timeout), s.card.Info()
		return nil
	})
	return card, err
}
