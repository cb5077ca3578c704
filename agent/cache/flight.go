// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"context"
	"maps"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/loop"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/internal/token"
)

// What is bounded: reads at a time, and readers with a list in memory. A session has a few of each.
const (
	maxFlights = 16
	maxKept    = 64
)

// flightKey names what a flight is for. Who does not know which card it is shares with others who do not.
type flightKey struct {
	Key
	present *cardbroker.Card
}

// flight is one read that is under way, and who waits for it.
type flight struct {
	key    flightKey
	ctx    context.Context
	cancel context.CancelFunc
	askers int // owned by the loop

	done chan struct{} // closed when the rest is set
	list []token.Certificate
	err  error
}

// state is what the loop owns.
type state struct {
	cache   *Cache
	group   *run.Group
	kept    map[place]kept // never changed, only replaced: it is the view
	flights map[flightKey]*flight
}

var _ loop.Owner[*state] = (*state)(nil)

// Begin implements [loop.Owner].
func (st *state) Begin() *state { return st }

// Deadline implements [loop.Owner]: nothing is ever due; who looks at a list looks at its age.
func (st *state) Deadline() time.Time { return time.Time{} }

// Tick implements [loop.Owner].
func (st *state) Tick(*state, time.Time) {}

// Commit publishes the view.
func (st *state) Commit(context.Context, *state) error {
	st.cache.view.Store(&st.kept)
	return nil
}

// drop forgets places, and has flights to them keep nothing: they go on for who has asked before.
func (st *state) drop(which func(place) bool) {
	st.kept = maps.Clone(st.kept)
	maps.DeleteFunc(st.kept, func(p place, _ kept) bool { return which(p) })
	maps.DeleteFunc(st.flights, func(k flightKey, _ *flight) bool { return which(k.place()) })
}

// keep keeps what a flight has found, if it is still wanted.
func (st *state) keep(f *flight, k kept) bool {
	if st.flights[f.key] != f {
		return false
	}
	st.kept = maps.Clone(st.kept)
	if _, known := st.kept[f.key.place()]; !known && len(st.kept) >= maxKept {
		clear(st.kept)
	}
	if k.card == nil {
		delete(st.kept, f.key.place())
	} else {
		st.kept[f.key.place()] = k
	}
	return true
}

// board has the asker wait for the flight that there is, or starts one. Whoever boards leaves, or waits until it is done.
func (c *Cache) board(key flightKey, serial func(context.Context) (string, error), read func(context.Context) ([]token.Certificate, error)) (*flight, error) {
	var f *flight
	err := c.loop.Do(context.Background(), func(st *state) error { // the loop does no I/O
		f = st.flights[key]
		if f == nil {
			if len(st.flights) >= maxFlights {
				return cardbroker.Errorf(cardbroker.Overloaded, "too many cards are being read; try again")
			}
			f = &flight{key: key, done: make(chan struct{})}
			f.ctx, f.cancel = context.WithCancel(st.group.Context())
			st.flights[key] = f
			started := f
			st.group.Go("certificates", func(context.Context) error {
				c.fly(started, serial, read)
				return nil
			})
		}
		f.askers++
		return nil
	})
	return f, err
}

// leave has one asker less wait. With the last one the flight ends, and who asks then starts another.
func (c *Cache) leave(f *flight) {
	c.loop.Must(func(st *state) error { // an error is the end of all
		if f.askers--; f.askers == 0 {
			f.cancel()
			st.land(f)
		}
		return nil
	})
}

// land ends a flight that is the current one.
func (st *state) land(f *flight) {
	if st.flights[f.key] == f {
		delete(st.flights, f.key)
	}
}

// fly finds the certificates, tells who waits, and keeps what was found.
func (c *Cache) fly(f *flight, serial func(context.Context) (string, error), read func(context.Context) ([]token.Certificate, error)) {
	defer f.cancel()
	id, found, fresh, err := c.find(f, serial, read)
	f.list, f.err = found.list, err
	current := false
	c.loop.Must(func(st *state) error { // before they are told, so that who asks then finds it
		current = err == nil && st.keep(f, found)
		if !current {
			st.land(f)
		}
		return nil
	})
	close(f.done)
	if err == nil {
		c.seen(f.list)
	}
	if !current {
		return
	}
	if c.disk != nil && id.serial != "" && fresh {
		c.disk.store(id, f.key.place(), found)
	}
	c.loop.Must(func(st *state) error {
		current = st.flights[f.key] == f
		st.land(f)
		return nil
	})
	if !current && c.disk != nil { // dropped meanwhile, perhaps before the file was written
		c.disk.dropPlace(f.key.place(), "")
	}
}

// find looks on disk and then at the card. fresh says that it was read from the card.
func (c *Cache) find(f *flight, serial func(context.Context) (string, error), read func(context.Context) ([]token.Certificate, error)) (
	id cardID, found kept, fresh bool, err error,
) {
	number, err := serial(f.ctx)
	if err != nil {
		return id, found, false, err
	}
	id = cardID{module: f.key.Module, serial: number, atr: f.key.ATR}
	if c.disk != nil && number != "" {
		c.disk.dropPlace(f.key.place(), c.disk.idName(id)) // of another card that was there
		if found, ok := c.disk.load(id, f.key.place(), time.Now()); ok {
			found.card = f.key.present
			return id, found, false, nil
		}
	}
	found.list, err = read(f.ctx)
	if err != nil {
		return id, kept{}, false, err
	}
	again, err := serial(f.ctx)
	if err == nil && again != number {
		err = cardbroker.Errorf(cardbroker.CardRemoved, "another card was put in meanwhile")
	}
	if err != nil {
		return id, kept{}, false, err
	}
	found.card, found.until = f.key.present, until(found.list, time.Now(), c.cfg.Policy.Age)
	return id, found, true, nil
}
