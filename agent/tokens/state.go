// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package tokens

import (
	"cmp"
	"context"
	"strings"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/child"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/loop"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/internal/token"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// state is what the loop owns.
type state struct {
	tokens  *Tokens
	group   *run.Group
	modules []*module // by name
	away    error     // why nobody may use any of them; nil: they may
}

var _ loop.Owner[*state] = (*state)(nil)

// module is a module and its process.
type module struct {
	config.Module
	life    child.Life
	closed  error    // why nobody may use it, though the user is there; nil: they may
	process *process // that is up; nil: none is
}

// process is one process of a module.
type process struct {
	*child.Process
	module  string
	pcsc    bool
	library token.Library
	lines   [wire.Streams]*line // 0 is asked of the module itself
	listed  bool                // it was asked for all its slots
	slots   []token.Slot        // of the last lists; never changed, only replaced
}

func newState(t *Tokens, group *run.Group) *state {
	st := &state{tokens: t, group: group}
	for _, cfg := range t.cfg.Modules {
		m := &module{Module: cfg}
		m.life = child.Life{
			Name:  "the module " + cfg.Name,
			Idle:  t.cfg.Idle,
			Start: func() { group.Go("module", func(ctx context.Context) error { return t.attend(ctx, m) }) },
			Gone:  func() { m.process = nil },
		}
		st.modules = append(st.modules, m)
	}
	return st
}

// module returns the module of that name, nil if there is none.
func (st *state) module(name string) *module {
	for _, m := range st.modules {
		if m.Name == name {
			return m
		}
	}
	return nil
}

// forbid has a module refused or allowed, as it is now.
func (st *state) forbid(m *module) { m.life.Forbid(cmp.Or(st.away, m.closed)) }

// Begin implements [loop.Owner].
func (st *state) Begin() *state { return st }

// Tick implements [loop.Owner]. What is due is done in Commit, as after every other change.
func (st *state) Tick(*state, time.Time) {}

// Deadline implements [loop.Owner].
func (st *state) Deadline() (first time.Time) {
	for _, m := range st.modules {
		if at := m.life.Deadline(); !at.IsZero() && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first
}

// Commit implements [loop.Owner]: it starts and stops processes, and publishes the view.
func (st *state) Commit(context.Context, *state) error {
	for _, m := range st.modules {
		m.life.Commit()
	}
	st.publish()
	for _, m := range st.modules {
		m.life.Answer()
	}
	return nil
}

func (st *state) publish() {
	v := make([]Status, len(st.modules))
	for i, m := range st.modules {
		v[i] = Status{Name: m.Name, Title: m.Title, Library: m.Library, Status: m.life.Status(), process: m.process}
	}
	st.tokens.view.Store(&v)
}

// close tells all who wait that there will be no process any more.
func (st *state) close() {
	for _, m := range st.modules {
		m.life.Close()
		m.life.Answer()
	}
	st.publish()
}

// mute returns for how long one of its lines has owed an answer; nil owes none.
func (p *process) mute() (longest time.Duration) {
	if p == nil {
		return 0
	}
	for _, l := range p.lines {
		if since := l.owes.Load(); since != 0 {
			longest = max(longest, time.Since(time.Unix(0, since)))
		}
	}
	return longest
}

// told takes a list of slots. A slot keeps its stream for the life of the process.
func (p *process) told(slots []token.Slot, present bool) {
	if !present {
		p.slots, p.listed = slots, true
		return
	}
	known := append([]token.Slot{}, slots...)
	for _, s := range p.slots {
		if !has(slots, s.ID) {
			known = append(known, s)
		}
	}
	p.slots = known
}

func has(slots []token.Slot, id uint) bool {
	for _, s := range slots {
		if s.ID == id {
			return true
		}
	}
	return false
}

// find returns the line of a slot that some process of the module has told of: by its number, or else by its description, and with the
// same token, so that no PIN meets another one. Errors: ObjectUnknown, Unavailable, errUnlisted.
func (p *process) find(wanted token.Slot) (*line, error) {
	var found []token.Slot
	for _, s := range p.slots {
		switch {
		case strings.TrimSpace(s.Description) != strings.TrimSpace(wanted.Description) || !sameToken(s.Token, wanted.Token):
		case s.ID == wanted.ID:
			return p.lineOf(s)
		default:
			found = append(found, s)
		}
	}
	switch {
	case len(found) == 1:
		return p.lineOf(found[0])
	case len(found) == 0 && !p.listed:
		return nil, errUnlisted
	}
	return nil, cardbroker.Errorf(cardbroker.ObjectUnknown, "there is no such slot, or another token is in it")
}

func (p *process) lineOf(s token.Slot) (*line, error) {
	if s.Stream == 0 {
		return nil, cardbroker.Errorf(cardbroker.Unavailable, "the module has too many slots: this one cannot be asked")
	}
	return p.lines[s.Stream], nil
}

// sameToken says whether one token may be the other, as far as both are known.
func sameToken(a, b *token.Token) bool {
	return a == nil || b == nil || a.Serial == b.Serial && a.Label == b.Label
}
