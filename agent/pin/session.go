// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pin

import (
	"bytes"
	"context"
	"time"

	"github.com/cardbroker/cardbroker"
)

// maxSessions is how many PINs are kept at a time.
const maxSessions = 16

// session is a PIN that is kept: for one page, one use of one card that has not left its reader since, for a time and a
// number of uses.
type session struct {
	origin  cardbroker.Origin
	reader  string
	use     string
	present *cardbroker.Card
	now     func() *cardbroker.Card // as [Wish].Present
	atr     []byte
	pin     cardbroker.Secret
	uses    int // left
	ends    time.Time
}

// keep begins a session where policy has them, and the user has not locked his screen meanwhile: then the others have ended, or are about to. Programs have none: they have no origin to tell them apart by.
func (st *state) keep(t trial) {
	k, w := st.keeper, t.wish
	policy := k.cfg.Policy.Session
	if k.attended() != nil || !policy.Keeps() || k.cfg.Policy.Ask || w.Once || w.Origin == "" || t.present == nil || t.present != w.Present() {
		return
	}
	st.endSessions("another takes its place", func(s session) bool { return s.is(w) })
	if len(st.sessions) >= maxSessions || k.cfg.Held(w.Reader) {
		return
	}
	st.sessions = append(st.sessions, session{
		origin: w.Origin, reader: w.Reader, use: w.Use, present: t.present, now: w.Present, atr: bytes.Clone(t.card.ATR),
		pin: cardbroker.NewSecret(bytes.Clone(t.pin.Reveal())), uses: policy.Uses, ends: time.Now().Add(policy.Time),
	})
	k.cfg.Record(cardbroker.Event{Name: cardbroker.EventPINSessionBegun, Origin: w.Origin, Reader: w.Reader})
}

func (s session) is(w *Wish) bool {
	return s.origin == w.Origin && s.reader == w.Reader && s.use == w.Use
}

// keeps says whether a PIN is kept for a wish that brings none.
func (st *state) keeps(w *Wish) bool {
	if w.Once || w.Dialog || !w.PIN.Empty() {
		return false
	}
	for _, s := range st.sessions {
		if s.is(w) && s.present == w.Present() && s.uses > 0 && time.Now().Before(s.ends) {
			return true
		}
	}
	return false
}

// take returns a copy of the PIN that is kept for a wish, and counts the use; an empty one if there is none.
func (k *Keeper) take(ctx context.Context, w *Wish) (pin cardbroker.Secret, err error) {
	err = k.loop.Do(ctx, func(st *state) error {
		st.Tick(st, time.Now())
		for i := range st.sessions {
			s := &st.sessions[i]
			if s.is(w) && s.present == w.Present() && s.uses > 0 {
				s.uses--
				pin = cardbroker.NewSecret(bytes.Clone(s.pin.Reveal()))
			}
		}
		return nil
	})
	return pin, err
}

// has says whether the session that a trial's PIN is from is still there, and for this card.
func (st *state) has(t trial) bool {
	for _, s := range st.sessions {
		if s.is(t.wish) && t.same(s) {
			return true
		}
	}
	return false
}

// EndAll ends all sessions: the user has locked his screen, disconnected or logged off.
func (k *Keeper) EndAll(why string) {
	k.end(why, func(session) bool { return true })
}

// EndReader ends the sessions of one reader: a back end takes it.
func (k *Keeper) EndReader(reader, why string) {
	k.end(why, func(s session) bool { return s.reader == reader })
}

// EndPages ends the sessions of some pages: those whose consent has ended. which touches memory only.
func (k *Keeper) EndPages(why string, which func(cardbroker.Origin) bool) {
	k.end(why, func(s session) bool { return s.origin != "" && which(s.origin) })
}

func (k *Keeper) end(why string, which func(session) bool) {
	k.loop.Must(func(st *state) error {
		st.endSessions(why, which)
		return nil
	})
}

// endSessions overwrites the PINs of some sessions and forgets them.
func (st *state) endSessions(why string, which func(session) bool) {
	kept := st.sessions[:0]
	for _, s := range st.sessions {
		if !which(s) {
			kept = append(kept, s)
			continue
		}
		clear(s.pin.Reveal())
		st.keeper.cfg.Record(cardbroker.Event{Name: cardbroker.EventPINSessionEnded, Origin: s.origin, Reader: s.reader, Detail: why})
	}
	clear(st.sessions[len(kept):])
	st.sessions = kept
}
