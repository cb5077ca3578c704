// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pin

import (
	"bytes"
	"context"
	"errors"
	"time"

	"golang.org/x/time/rate"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/loop"
)

// What one page, and all askers together, may try. A question that the user does not answer counts thrice.
const (
	perMinute    = 10
	allPerMinute = 30
	refusalCosts = 3
	maxOrigins   = 256 // pages that are remembered; they all have the user's consent
)

// Where a card does not say how often its PIN may be wrong, it is taken for one that has had a wrong PIN before.
const (
	assumedTries = 2
	maxCounts    = 64 // cards that are counted for; the oldest is forgotten
)

// maxWrong is how often in a row a page may be wrong, over days and whatever the card has left: then the user has to enter his PIN
// himself. A right PIN of his own gives the card all its tries back, and would give a page that guesses some more each time.
const maxWrong = 3

// state is what the loop owns. Commands check before they change anything.
type state struct {
	keeper     *Keeper
	all        *rate.Limiter
	origins    map[cardbroker.Origin]*asker
	busy       map[string]bool // readers for which a PIN is on its way
	counts     []count         // the newest last
	challenges []challenge     // the newest last
	sessions   []session
}

// asker is a web page, or all programs of the user.
type asker struct {
	tries *rate.Limiter
	wrong int // in a row
}

// count is of a card whose PIN was wrong.
type count struct {
	reader, use string
	atr         []byte
	puk         bool
	wrong       int // in a row
	left        int // as the card said; RetriesUnknown
}

var _ loop.Owner[*state] = (*state)(nil)

func newState(k *Keeper) *state {
	return &state{
		keeper:  k,
		all:     rate.NewLimiter(rate.Every(time.Minute/allPerMinute), allPerMinute),
		origins: map[cardbroker.Origin]*asker{},
		busy:    map[string]bool{},
	}
}

// Begin implements [loop.Owner].
func (st *state) Begin() *state { return st }

// Commit implements [loop.Owner]: it tells the watcher how many sessions there are.
func (st *state) Commit(context.Context, *state) error {
	if now := int64(len(st.sessions)); st.keeper.live.Swap(now) != now {
		loop.Signal(st.keeper.moved)
	}
	return nil
}

// Deadline implements [loop.Owner]: when the first session ends. Challenges wait until somebody looks.
func (st *state) Deadline() (next time.Time) {
	for _, s := range st.sessions {
		if next.IsZero() || s.ends.Before(next) {
			next = s.ends
		}
	}
	return next
}

// Tick implements [loop.Owner].
func (st *state) Tick(_ *state, now time.Time) {
	st.endSessions("its time is over", func(s session) bool { return !now.Before(s.ends) })
}

// begin gives an asker his turn at a reader.
func (k *Keeper) begin(ctx context.Context, w Wish) error {
	return k.loop.Do(ctx, func(st *state) error {
		if st.busy[w.Reader] {
			return cardbroker.Errorf(cardbroker.ReaderBusy, "another PIN is on its way to this reader")
		}
		if st.keeps(&w) { // who was let begin a session is let use it up
			st.busy[w.Reader] = true
			return nil
		}
		now := time.Now()
		asker := st.asker(w.Origin)
		if asker == nil || st.all.TokensAt(now) < 1 || !asker.tries.AllowN(now, 1) {
			return cardbroker.Refusef(cardbroker.RateLimited, cardbroker.RulePINRate, "more than %d PINs a minute of one page, or %d of all", perMinute, allPerMinute)
		}
		st.all.AllowN(now, 1)
		st.busy[w.Reader] = true
		return nil
	})
}

// finish ends it.
func (k *Keeper) finish(reader string) {
	k.loop.Must(func(st *state) error {
		delete(st.busy, reader)
		st.endSessions("it was used up", func(s session) bool { return s.reader == reader && s.uses == 0 })
		return nil
	})
}

// asker returns the entry of an origin; nil if there are too many.
func (st *state) asker(origin cardbroker.Origin) *asker {
	if st.origins[origin] == nil {
		if len(st.origins) >= maxOrigins {
			return nil
		}
		st.origins[origin] = &asker{tries: rate.NewLimiter(rate.Every(time.Minute/perMinute), perMinute)}
	}
	return st.origins[origin]
}

// refused notes that the user was asked and did not answer.
func (k *Keeper) refused(origin cardbroker.Origin) {
	k.loop.Must(func(st *state) error {
		if asker := st.origins[origin]; asker != nil {
			asker.tries.ReserveN(time.Now(), refusalCosts-1)
		}
		return nil
	})
}

// allow says whether a try may be spent of those that are left. The user himself may spend any.
func (k *Keeper) allow(ctx context.Context, t trial, left int, known bool) error {
	return k.loop.Do(ctx, func(st *state) error {
		if !known {
			left = max(0, assumedTries-st.wrongAtAll(t))
		}
		if t.from.user() {
			return nil
		}
		if asker := st.origins[t.wish.Origin]; left <= max(1, k.cfg.Policy.Floor) || asker != nil && asker.wrong >= maxWrong {
			return fewTries{left}
		}
		if t.from == fromSession && !st.has(t) {
			return cardbroker.Errorf(cardbroker.CardRemoved, "the PIN was kept for another card")
		}
		return nil
	})
}

// tried takes note of what the card said to a PIN.
func (k *Keeper) tried(t trial, said error) {
	k.loop.Must(func(st *state) error {
		asker := st.origins[t.wish.Origin]
		if said != nil {
			st.note(t, 1, said)
			if !t.from.user() && asker != nil {
				asker.wrong++
			}
			st.endSessions("the card refused a PIN", func(s session) bool { return s.reader == t.wish.Reader })
			return nil
		}
		st.note(t, 0, nil)
		if asker != nil {
			asker.wrong = 0
		}
		if t.wish.Act != "" {
			st.endSessions("the PIN was changed", func(s session) bool { return s.reader == t.wish.Reader })
		} else if t.from != fromSession && t.from != atReader {
			st.keep(t)
		}
		return nil
	})
}

// wrong says how often the PIN of a card was wrong since it was right.
func (st *state) wrong(t trial) int {
	for _, c := range st.counts {
		if c.is(t) {
			return c.wrong
		}
	}
	return 0
}

// wrongAtAll says how often any PIN, or any PUK, of a card was wrong since that one was right. A PIN has several names (an application's, a module's, an
// encoding's), and a page tries them all.
func (st *state) wrongAtAll(t trial) (wrong int) {
	for _, c := range st.counts {
		if c.onCardOf(t) {
			wrong += c.wrong
		}
	}
	return wrong
}

// note counts a wrong PIN, of which the card said so, or forgets them all after a right one.
func (st *state) note(t trial, more int, said error) {
	wrong := (st.wrong(t) + more) * more
	kept := st.counts[:0]
	for _, c := range st.counts {
		if !c.is(t) {
			kept = append(kept, c)
		}
	}
	if st.counts = kept; wrong == 0 {
		return
	}
	if len(st.counts) >= maxCounts {
		st.counts = append(st.counts[:0], st.counts[1:]...)
	}
	left := cardbroker.RetriesUnknown
	if e, ok := errors.AsType[*cardbroker.Error](said); ok && e.Reason == cardbroker.PINIncorrect {
		left = e.Retries
	}
	st.counts = append(st.counts, count{reader: t.wish.Reader, use: t.wish.Use, puk: t.wish.Act == Unblock, atr: t.card.ATR, wrong: wrong, left: left})
}

func (c count) is(t trial) bool { return c.use == t.wish.Use && c.onCardOf(t) }

// onCardOf says whether it is of a PIN, or of a PUK, of the same card.
func (c count) onCardOf(t trial) bool {
	return c.reader == t.wish.Reader && c.puk == (t.wish.Act == Unblock) && bytes.Equal(c.atr, t.card.ATR)
}
