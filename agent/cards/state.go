// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cards

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/child"
	"github.com/cardbroker/cardbroker/internal/loop"
	"github.com/cardbroker/cardbroker/internal/run"
)

// state is what the loop owns. Changes happen in its methods; [state.Commit] then starts or stops the child as needed.
type state struct {
	sandbox  *Sandbox
	group    *run.Group
	life     child.Life
	process  *process                 // that has told the readers
	readers  []reader                 // of a process that is up; by name; never changed, only replaced
	shown    []cardbroker.Reader      // the same for others
	watchers map[chan struct{}]bool   // subscribers
	left     map[string]*atomic.Int32 // by reader; a party's, see [Card]; of readers that were ever used
	loans    map[string]*Loan         // by reader
	changed  bool                     // the readers, since the last Commit
}

var _ loop.Owner[*state] = (*state)(nil)

func newState(s *Sandbox, group *run.Group) *state {
	st := &state{sandbox: s, group: group, watchers: map[chan struct{}]bool{}, left: map[string]*atomic.Int32{}, loans: map[string]*Loan{}}
	st.life = child.Life{
		Name:  "the sandbox",
		Idle:  s.cfg.Idle,
		Start: func() { group.Go("sandbox child", s.attend) },
		Gone:  st.gone,
	}
	return st
}

// Begin implements [loop.Owner].
func (st *state) Begin() *state { return st }

// Tick implements [loop.Owner]. What is due is done in Commit, as after every other change.
func (st *state) Tick(*state, time.Time) {}

// Deadline implements [loop.Owner].
func (st *state) Deadline() time.Time { return st.life.Deadline() }

// Commit implements [loop.Owner]: it starts the child if somebody wants it, stops it if nobody has used it for long,
// publishes the view and signals the subscribers.
func (st *state) Commit(context.Context, *state) error {
	st.life.Commit()
	st.publish()
	st.life.Answer()
	return nil
}

func (st *state) publish() {
	st.sandbox.view.Store(&view{readers: st.shown, status: st.life.Status()})
	if !st.changed {
		return
	}
	st.changed = false
	for signal := range st.watchers {
		loop.Signal(signal)
	}
}

// watch begins or ends a subscription. Who subscribes wants the child to run.
func (st *state) watch(signal chan struct{}, on bool) {
	if on {
		st.watchers[signal] = true
	} else {
		delete(st.watchers, signal)
	}
	st.life.Wanted = len(st.watchers) > 0
}

// renew has the child replaced, if there is one that may have asked for the readers already.
func (st *state) renew() {
	st.life.Renew()
	st.sandbox.epoch.Add(1)
}

func (st *state) setReaders(readers []reader) {
	st.readers, st.shown = readers, nil
	for _, r := range readers {
		st.shown = append(st.shown, r.Reader)
	}
	st.changed = true
}

// gone forgets the readers of a child that is at its end.
func (st *state) gone() {
	if len(st.readers) > 0 {
		st.setReaders(nil)
	}
}

// close tells all who look or wait that there will be no child any more.
func (st *state) close() {
	st.life.Close()
	st.setReaders(nil)
	st.publish()
	st.life.Answer()
}

// told takes the list of a child that is up.
func (st *state) told(p *process, readers []reader) {
	if !st.life.Up(p.Process) {
		return
	}
	st.process = p
	if hidden := st.sandbox.cfg.Hidden; hidden != nil {
		readers = slices.DeleteFunc(slices.Clone(readers), func(r reader) bool { return hidden(r.Name) })
	}
	st.setReaders(readers)
	st.carry(p)
}

// claim finds the card's reader and takes it for the card, or a place in the queue of local programs.
func (st *state) claim(c *Card) error {
	for _, r := range st.readers {
		if r.Name != c.reader {
			continue
		}
		l := st.process.links[r.stream]
		switch {
		case c.party == local && l.sole:
			return RefuseSole(c.holder())
		case c.party == local && l.turns >= maxTurns:
			return cardbroker.Errorf(cardbroker.ReaderBusy, "%d local programs of this session use the reader or wait for it", maxTurns)
		case c.party == local:
			l.turns++
		case l.claimed:
			return cardbroker.Errorf(cardbroker.ReaderBusy, "a back end uses the reader")
		default:
			l.claimed, l.sole = true, c.share != cardbroker.ShareShared
		}
		l.process.Uses++
		c.link, c.number, c.left = l, r.number, st.leftOn(r.Name)
		return nil
	}
	return cardbroker.Errorf(cardbroker.ReaderUnknown, "there is no such reader")
}

// leftOn returns where it stands who has left something on the card in the reader of that name.
func (st *state) leftOn(name string) *atomic.Int32 {
	if st.left[name] == nil {
		st.left[name] = new(atomic.Int32)
		st.left[name].Store(int32(earlier))
	}
	return st.left[name]
}
