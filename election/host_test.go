// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package election_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/election"
	"github.com/cardbroker/cardbroker/internal/loop"
)

// host is a machine with one well-known port, which whoever binds it holds until he lets go or dies, and with what voters
// gossip over. Who holds the port appoints voters, as a leader does.
type host struct {
	t   *testing.T
	net *network

	mu     sync.Mutex
	holder *agent
	links  map[*agent]*link // to the holder
	terms  []*agent         // who has taken office, in order
	agents []*agent
	taken  chan struct{} // signal
}

// agent is a process with an Elector, and with a link to whoever leads.
type agent struct {
	*election.Elector
	h    *host
	self api.Voter

	end       context.CancelCauseFunc
	wg        sync.WaitGroup
	abandoned chan error

	// Guarded by the host's mutex.
	dead   bool
	health func(ctx context.Context) error // instead of a good answer
	term   func(ctx context.Context) error // instead of a wait for the end
	deny   error                           // what Take fails with
	takes  int                             // tries to take office
	taking bool
	link   *link
	linked int // times
}

type link struct {
	voter api.Voter
	gone  chan struct{}
}

// onHost tells a story of a host in a bubble, and ends its agents after it.
func onHost(t *testing.T, story func(t *testing.T, h *host)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &host{t: t, net: newNetwork(), links: map[*agent]*link{}, taken: make(chan struct{}, 1)}
		defer func() {
			for _, a := range h.agents {
				if a.end != nil {
					a.end(nil)
				}
			}
			for _, a := range h.agents {
				a.wg.Wait()
			}
			time.Sleep(time.Minute) // what memberlist has under way ends by its own limits
		}()
		story(t, h)
	})
}

// pass lets time go by.
func (h *host) pass(d time.Duration) { time.Sleep(d) }

// add makes an agent that does not run yet.
func (h *host) add(name string, born uint64) *agent {
	a := &agent{h: h, self: api.Voter{Name: name, Born: born}, abandoned: make(chan error, 1)}
	a.Elector = election.New(election.Config{
		Take: a.take,
		Health: func(ctx context.Context) error {
			h.mu.Lock()
			health := a.health
			h.mu.Unlock()
			if health == nil {
				return nil
			}
			return health(ctx)
		},
		Abandon: func(why error) {
			a.abandoned <- why
			a.kill()
		},
		Self: a.self,
		Log:  slog.New(slog.DiscardHandler),
	})
	a.GossipOver(h.net.listener(name))
	h.mu.Lock()
	h.agents = append(h.agents, a)
	h.mu.Unlock()
	return a
}

// run runs an agent's Elector until the agent dies or the test ends.
func (h *host) run(a *agent) context.Context {
	ctx, end := context.WithCancelCause(context.Background())
	a.end = end
	a.wg.Go(func() { a.Run(ctx) })
	return ctx
}

// start runs agents, which follow whoever leads.
func (h *host) start(agents ...*agent) {
	for _, a := range agents {
		ctx := h.run(a)
		a.wg.Go(func() { a.follow(ctx) })
		a.wg.Go(func() { a.tell(ctx) })
	}
}

// denies has an agent fail to take office, and returns what counts its tries.
func (h *host) denies(a *agent, err error) (tries func() int) {
	a.set(func() { a.deny = err })
	return func() int {
		h.mu.Lock()
		defer h.mu.Unlock()
		return a.takes
	}
}

// set changes what an agent does, from now on.
func (a *agent) set(change func()) {
	a.h.mu.Lock()
	defer a.h.mu.Unlock()
	change()
}

// starts adds and starts n agents, the oldest first.
func (h *host) starts(n int) []*agent {
	var agents []*agent
	for i := range n {
		agents = append(agents, h.add(fmt.Sprintf("agent%02d", len(h.agents)), uint64(1000+i)))
	}
	h.start(agents...)
	return agents
}

// follow keeps a link to whoever leads.
func (a *agent) follow(ctx context.Context) {
	for ctx.Err() == nil {
		if err := a.Seek(ctx, time.Time{}, a.dial); err != nil {
			if ctx.Err() == nil {
				a.h.t.Errorf("%s: Seek() = %v, want nil", a.self.Name, err)
			}
			return
		}
		a.h.mu.Lock()
		l := a.link
		a.h.mu.Unlock()
		select {
		case <-l.gone:
		case <-ctx.Done():
		}
	}
}

// tell tells the leader where we gossip.
func (a *agent) tell(ctx context.Context) {
	for {
		select {
		case <-a.Changed():
			self := a.Self()
			a.h.mu.Lock()
			if l := a.h.links[a]; l != nil {
				l.voter = self
				a.h.appoint()
			}
			a.h.mu.Unlock()
		case <-ctx.Done():
			return
		}
	}
}

func (a *agent) dial(ctx context.Context) error {
	self := a.Self()
	a.h.mu.Lock()
	defer a.h.mu.Unlock()
	if a.h.holder == nil || a.dead {
		return cardbroker.Errorf(cardbroker.Unavailable, "nobody is there")
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if a.h.holder == a && !a.taking && self.Gossip.IsValid() {
		a.h.t.Errorf("%s leads, and says that it gossips: others would wait for it after its death", a.self.Name)
	}
	a.link = &link{voter: self, gone: make(chan struct{})}
	a.h.links[a] = a.link
	a.linked++
	a.h.appoint()
	return nil
}

// appoint has the leader appoint the 7 oldest of those that are linked to it. The mutex is held.
func (h *host) appoint() {
	var voters []api.Voter
	for _, l := range h.links {
		voters = append(voters, l.voter)
	}
	slices.SortFunc(voters, func(a, b api.Voter) int { return int(a.Born) - int(b.Born) })
	voters = voters[:min(len(voters), 7)]
	for a := range h.links {
		a.Appoint(voters)
	}
}

// take binds the port, and takes a while for the rest.
func (a *agent) take(ctx context.Context) (election.Term, error) {
	err := a.bind(ctx)
	if err != nil {
		return nil, err
	}
	a.h.pass(5 * time.Millisecond)
	var term func(context.Context) error
	a.set(func() { a.taking, term = false, a.term })
	return func(ctx context.Context) error {
		defer a.h.free(a)
		if term != nil {
			return term(ctx)
		}
		<-ctx.Done()
		return nil
	}, nil
}

func (a *agent) bind(ctx context.Context) error {
	h := a.h
	h.mu.Lock()
	defer h.mu.Unlock()
	a.takes++
	switch {
	case a.taking || h.holder == a:
		h.t.Errorf("%s takes office twice", a.self.Name)
	case ctx.Err() != nil:
		h.t.Errorf("%s takes office after its end", a.self.Name)
	case a.dead:
		return cardbroker.Errorf(cardbroker.Unavailable, "dead")
	case a.deny != nil:
		return a.deny
	case h.holder != nil:
		return cardbroker.Errorf(cardbroker.Conflict, "the port is taken")
	}
	h.holder, a.taking = a, true
	h.terms = append(h.terms, a)
	loop.Signal(h.taken)
	return nil
}

// free lets go of the port, if he holds it: all links end.
func (h *host) free(a *agent) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.holder != a {
		return
	}
	h.holder = nil
	for a, l := range h.links {
		close(l.gone)
		delete(h.links, a)
	}
}

var errKilled = errors.New("killed")

// kill ends the process: nobody hears of it but by what the kernel closes.
func (a *agent) kill() {
	a.h.net.cut(a.self.Name)
	a.h.mu.Lock()
	a.dead = true
	delete(a.h.links, a)
	a.h.mu.Unlock()
	a.h.free(a)
	a.end(errKilled)
}

// leader returns who holds the port, or nil.
func (h *host) leader() *agent {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.holder
}

// elected waits until somebody has taken office, for a minute, and returns who and how long it took.
func (h *host) elected() (*agent, time.Duration) {
	h.t.Helper()
	start := time.Now()
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	for {
		if a := h.leader(); a != nil {
			return a, time.Since(start)
		}
		select {
		case <-h.taken:
		case <-limit.C:
			h.t.Fatal("nobody has taken office for a minute")
		}
	}
}
