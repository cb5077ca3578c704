// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package tokens

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/child"
	"github.com/cardbroker/cardbroker/internal/peer"
	"github.com/cardbroker/cardbroker/internal/token"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// attend starts a module's process, asks it what it is, and tells the loop of it and its end.
func (t *Tokens) attend(ctx context.Context, m *module) error {
	if why := unfit(m.Library); why != "" {
		t.cfg.Log.Error("cannot load a module", "module", m.Name, "err", why)
		return t.tell(func(*state) { m.life.Ended(child.Exit{Why: why}) })
	}
	exit := child.Attend(ctx, t.child(m), func(p *child.Process) error {
		own := &process{Process: p, module: m.Name, pcsc: m.PCSC}
		for n, stream := range p.Lines {
			own.lines[n] = &line{Line: stream, tokens: t, process: own, turn: make(chan struct{}, 1)}
		}
		var err error
		if own.library, err = own.lines[0].introduce(); err != nil {
			return err
		}
		return t.tell(func(*state) {
			if m.life.Up(p) {
				m.process = own
			}
		})
	})
	return t.tell(func(*state) { m.life.Ended(exit) })
}

// introduce asks a new process what it is. It has as long as any call: a vendor's C_Initialize may be slow. After an error the
// process is to end.
func (l *line) introduce() (token.Library, error) {
	limit := time.Now().Add(l.tokens.cfg.CallLimit)
	if err := l.send(context.Background(), limit, call{text: []byte(`{"call":"info"}`)}); err != nil {
		return token.Library{}, err
	}
	h, payload, err := l.receive(&wire.Gathering{Max: token.MaxJSON})
	if err != nil {
		return token.Library{}, err
	}
	a, refused, err := parse(h, payload)
	switch {
	case err != nil:
		return token.Library{}, err
	case refused != nil:
		return token.Library{}, refused
	case a.Library == nil:
		return token.Library{}, cardbroker.Errorf(cardbroker.Internal, "it does not say what it is")
	}
	return *a.Library, nil
}

// child says how a module's process is started.
func (t *Tokens) child(m *module) child.Config {
	env := append([]string{"HOME=/nonexistent"}, m.Env...) // a library that looks for its user's own finds nothing, and says nothing
	env = append(env, "CARDSANDBOX_READ="+strings.Join(m.Read, ":"), "CARDSANDBOX_WRITE="+strings.Join(m.Write, ":"))
	if m.PCSC && t.cfg.PCSC != "" {
		env = append(env, "PCSCLITE_CSOCK_NAME="+t.cfg.PCSC)
	}
	return child.Config{Program: t.cfg.Program, Args: []string{"pkcs11", m.Library}, Env: env, Log: t.cfg.Log.With("module", m.Name)}
}

// unfit says why a library is not loaded, if it is not: it may have changed since policy was read.
func unfit(library string) string {
	if _, err := os.Stat(library); errors.Is(err, fs.ErrNotExist) {
		return "its library is not there: " + library
	}
	if err := peer.CheckFile(library); err != nil {
		return "its library is not root's alone: " + library
	}
	return ""
}

// slots returns the slots that a list has and that are not hidden, by number. No slot but these is ever asked.
func (a answer) slots(present bool) ([]token.Slot, error) {
	slices.SortStableFunc(a.Slots, func(x, y token.Slot) int { return cmp.Compare(x.ID, y.ID) })
	var used [wire.Streams]bool
	for _, s := range a.Slots {
		if s.Stream >= wire.Streams || s.Stream > 0 && used[s.Stream] {
			err := cardbroker.Errorf(cardbroker.Internal, "it has two slots on one stream")
			return nil, a.line.broken(call{}, true, err)
		}
		used[s.Stream] = true
	}
	p := a.line.process
	if hidden := a.line.tokens.cfg.Hidden; hidden != nil && p.pcsc {
		a.Slots = slices.DeleteFunc(a.Slots, func(s token.Slot) bool { return hidden(s.Description) })
	}
	return a.Slots, a.line.tokens.tell(func(*state) { p.told(a.Slots, present) })
}
