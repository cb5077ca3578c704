// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package tokens is the agent's end of PKCS#11 modules: it starts a process of cardsandbox for each that is asked for, carries
// questions to its slots, and kills and replaces one that hangs or dies. A module may end at any moment and costs nobody more
// than what was asked of it; what may have spent a try of a PIN is never asked twice.
//
// Nothing here judges who may use a token, and nothing here loads a module. The state belongs to one loop ([Tokens.Run]); a
// question does not pass through it: the goroutine that asks also reads the answer. The questions are package token's.
package tokens

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/child"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/loop"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/internal/token"
)

// Config says which modules there are, and how long they may take.
type Config struct {
	Program   string          // path of cardsandbox; it and its directories writable by root and our own user only
	Modules   []config.Module // by name
	PCSC      string          // socket of the PC/SC service of modules that use one; empty: they reach none
	Idle      time.Duration   // a process is stopped this long after its last use; 0: 5 min
	CallLimit time.Duration   // a call that takes longer gets the process killed; 0: 120 s

	// Lend has back ends make way for a module with PC/SC that a slot of that description is asked of, or for its list of slots if
	// that is empty, until giveBack is called. nil: there is no back end.
	Lend func(ctx context.Context, slot string) (giveBack func(), err error)

	// Hidden says of which readers nobody is to know, by name: modules with PC/SC have no slot of theirs. It touches memory only. nil: of none.
	Hidden func(reader string) bool

	Log *slog.Logger // nil: nothing is logged
}

// Tokens is the supervisor of the modules' processes, which are started when somebody asks. All methods but Run may be called
// by anybody while Run runs; before that they wait, after it they answer Unavailable.
type Tokens struct {
	cfg  Config
	loop *loop.Loop[*state]
	view atomic.Pointer[[]Status]
}

// Status is how a module has fared, for doctor and metrics.
type Status struct {
	Name, Title, Library string        // as policy has them
	Mute                 time.Duration // for so long the process has owed somebody an answer, the user's own time apart; 0: it owes none
	child.Status

	process *process
}

// New returns the supervisor of modules of which none is started yet.
func New(cfg Config) *Tokens {
	if cfg.Idle == 0 {
		cfg.Idle = 5 * time.Minute
	}
	if cfg.CallLimit == 0 {
		cfg.CallLimit = 2 * time.Minute
	}
	if cfg.Lend == nil {
		cfg.Lend = func(context.Context, string) (func(), error) { return func() {}, nil }
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	t := &Tokens{cfg: cfg, loop: loop.New[*state]()}
	newState(t, nil).publish()
	return t
}

// Run owns the state and the processes until ctx ends; then they are ended and waited for. It is called once.
func (t *Tokens) Run(ctx context.Context) error {
	group := run.New(ctx)
	st := newState(t, group)
	group.Go("tokens", func(ctx context.Context) error { return t.loop.Run(ctx, st) })
	err := group.Wait()
	st.close() // the loop has ended: this is the only goroutine left
	return err
}

// Modules returns how the modules have fared, by name, and waits for nobody. The result is not to be changed.
func (t *Tokens) Modules() []Status {
	all := slices.Clone(*t.view.Load())
	for i := range all {
		all[i].Mute = all[i].process.mute()
	}
	return all
}

// Forbid has every use of modules with PC/SC answered with why from now on, and ends their processes; nil allows them again.
// The others go on.
func (t *Tokens) Forbid(why error) error {
	return t.each(func(st *state, m *module) {
		if m.PCSC {
			m.closed = why
		}
		st.forbid(m)
	})
}

// Away has every use of modules answered with why from now on, and ends their processes; nil allows them again.
func (t *Tokens) Away(why error) error {
	return t.each(func(st *state, m *module) {
		st.away = why
		st.forbid(m)
	})
}

// Renew ends the processes, and what runs there with them: the next ones begin anew.
func (t *Tokens) Renew() error { return t.each(func(_ *state, m *module) { m.life.Renew() }) }

// releaseLimit is how long a back end waits for what is asked of modules with PC/SC.
const releaseLimit = 10 * time.Second

// Release has the processes of modules with PC/SC end once what was asked of them is done, and waits for that: they may have
// connections to any card. Errors: ReaderBusy if one does not within 10 s, Unavailable.
func (t *Tokens) Release() error {
	var ends []<-chan struct{}
	err := t.each(func(_ *state, m *module) {
		if m.PCSC && m.process != nil {
			m.life.Retire()
			ends = append(ends, m.process.Ended())
		}
	})
	limit := time.NewTimer(releaseLimit)
	defer limit.Stop()
	for _, ended := range ends {
		select {
		case <-ended:
		case <-limit.C:
			return cardbroker.Errorf(cardbroker.ReaderBusy, "a program of the session's uses a token; try again")
		}
	}
	return err
}

// Library says what the module is, and starts its process for that if none runs. Errors: ObjectUnknown (there is no such
// module), Unavailable (it does not run, and why), Timeout, Canceled.
func (t *Tokens) Library(ctx context.Context, name string) (library token.Library, err error) {
	err = t.whenReady(ctx, name, func(m *module) error {
		library = m.process.library
		return nil
	})
	return library, err
}

// Slots looks for the module's slots, or for those with a token only. The result is not to be changed. Errors as of Library; what
// the module answers; ReaderBusy if too many ask, or a back end does not make way in time.
func (t *Tokens) Slots(ctx context.Context, name string, present bool) ([]token.Slot, error) {
	c, err := newCall(token.Question{Call: token.CallSlots, Present: present}, nil)
	if err != nil {
		return nil, err
	}
	var slots []token.Slot
	err = t.again(func() error {
		a, err := t.ask(ctx, name, "", c, func(p *process) (*line, error) { return p.lines[0], nil })
		if err == nil {
			slots, err = a.slots(present)
		}
		return err
	})
	return slots, err
}

// Do asks a slot, which Slots has returned; if the process has been replaced since, the slot of the same description with the same
// token. It owns the secrets: they are overwritten when it returns. One question at a time is asked of a slot, others wait.
//
// Errors: what the module answers; ObjectUnknown (no such module or slot); Invalid (the question, or its secrets); TooLarge;
// ReaderBusy (too many wait, or somebody left a question that the slot has not answered yet); Timeout and Canceled (ctx ended; the
// slot may still be at it); Indeterminate (the process ended: a try of the PIN may be spent, a signature made); Unavailable (it
// ended, and nothing was lost).
func (t *Tokens) Do(ctx context.Context, name string, slot token.Slot, q token.Question, secrets ...cardbroker.Secret) (token.Answer, error) {
	defer wipe(secrets)
	if err := check(q, secrets); err != nil {
		return token.Answer{}, err
	}
	c, err := newCall(q, secrets)
	if err != nil {
		return token.Answer{}, err
	}
	var answer token.Answer
	find := func(p *process) (*line, error) { return p.find(slot) }
	err = t.again(func() error {
		a, err := t.ask(ctx, name, slot.Description, c, find)
		for errors.Is(err, errUnlisted) { // again where the process was replaced once it had listed them
			if _, err = t.Slots(ctx, name, false); err == nil {
				a, err = t.ask(ctx, name, slot.Description, c, find)
			}
		}
		answer = a.Answer
		return err
	})
	return answer, err
}

// again asks once more if the process turns out to have ended before the question was sent: it asks the next process.
func (t *Tokens) again(ask func() error) error {
	err := ask()
	if errors.Is(err, errEnded) {
		err = ask()
	}
	return err
}

// check says what is wrong with a question. Errors: Invalid.
func check(q token.Question, secrets []cardbroker.Secret) error {
	if err := q.Check(); err != nil {
		return err
	}
	if q.Call == token.CallInfo || q.Call == token.CallSlots {
		return cardbroker.Errorf(cardbroker.Invalid, "%s is not asked of a slot", q.Call)
	}
	if least, most := q.Secrets(); len(secrets) < least || len(secrets) > most {
		return cardbroker.Errorf(cardbroker.Invalid, "%s wants %d to %d PINs, not %d", q.Call, least, most, len(secrets))
	}
	for _, s := range secrets {
		if n := len(s.Reveal()); n == 0 || n > token.MaxSecret {
			return cardbroker.Errorf(cardbroker.Invalid, "a PIN has %d bytes, want 1 to %d", n, token.MaxSecret)
		}
	}
	return nil
}

func wipe(secrets []cardbroker.Secret) {
	for _, s := range secrets {
		clear(s.Reveal())
	}
}

// newCall turns a question into JSON. Errors: TooLarge.
func newCall(q token.Question, secrets []cardbroker.Secret) (call, error) {
	text, err := json.Marshal(q)
	if err == nil && len(text) > token.MaxJSON {
		err = cardbroker.Errorf(cardbroker.TooLarge, "a question has %d bytes, the limit is %d", len(text), token.MaxJSON)
	}
	return call{text, secrets, q.Protected, len(secrets) > 0 || q.Protected || q.Call == token.CallSign}, err
}

// whenReady has do run in the loop as soon as the module's process is up.
func (t *Tokens) whenReady(ctx context.Context, name string, do func(*module) error) error {
	return child.Await(ctx, func() (again <-chan error, err error) {
		err = t.loop.Do(context.Background(), func(st *state) error {
			m := st.module(name)
			if m == nil {
				return cardbroker.Errorf(cardbroker.ObjectUnknown, "there is no such module")
			}
			if again, err = m.life.WhenReady(); err != nil || again != nil {
				return err
			}
			return do(m)
		})
		return again, err
	})
}

// each changes all modules.
func (t *Tokens) each(change func(*state, *module)) error {
	return t.tell(func(st *state) {
		for _, m := range st.modules {
			change(st, m)
		}
	})
}

// tell changes the state. It fails only when the loop has ended.
func (t *Tokens) tell(change func(*state)) error {
	return t.loop.Must(func(st *state) error {
		change(st)
		return nil
	})
}
