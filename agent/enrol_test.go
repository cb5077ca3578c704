// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/home"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

// fakeRegistry answers Reserve by a function; it has no links.
type fakeRegistry struct {
	reserve func(api.Claim) (api.Reservation, error)
}

func (f fakeRegistry) Reserve(_ context.Context, c api.Claim) (api.Reservation, error) {
	return f.reserve(c)
}
func (f fakeRegistry) Release(context.Context, api.Claim) error   { return nil }
func (f fakeRegistry) Link(context.Context) (*socket.Conn, error) { return nil, errNoBroker }
func (f fakeRegistry) TunnelLeg(context.Context, string) (*socket.Conn, error) {
	return nil, errNoBroker
}
func (f fakeRegistry) ForwardLeg(context.Context, string) (net.Conn, error) { return nil, errNoBroker }

var errNoBroker = cardbroker.Errorf(cardbroker.Unavailable, "no broker answers")

func newTestAgent(t *testing.T, broker registry) *Agent {
	t.Helper()
	a := newRunnable(t, broker)
	t.Cleanup(a.kernel.Close)
	return a
}

// newRunnable returns an agent whose Run is to be called.
func newRunnable(t *testing.T, broker registry) *Agent {
	t.Helper()
	a, err := New(Config{
		Session: "1",
		State:   t.TempDir() + "/state",
		Ready:   func(home.Note) { t.Error("ready without a registration") },
		Log:     slog.New(slog.DiscardHandler),
	}, broker)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestTakenPortIsAvoided has somebody take the reserved port, on [::1] alone where there is IPv6, before the agent binds
// it: the agent asks for another and says which to avoid.
func TestTakenPortIsAvoided(t *testing.T) {
	both, err := httpserver.ListenLoopback(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	taken := both[len(both)-1]
	defer taken.Close()
	if len(both) == 2 {
		both[0].Close()
	}
	port := cardbroker.Port(taken.Addr().(*net.TCPAddr).Port)
	var avoided [][]cardbroker.Port
	a := newTestAgent(t, fakeRegistry{reserve: func(c api.Claim) (api.Reservation, error) {
		avoided = append(avoided, slices.Clone(c.Avoid))
		if len(c.Avoid) == 0 {
			return api.Reservation{Port: port}, nil
		}
		return api.Reservation{Port: 0}, nil // any
	}})
	e, err := a.bind(t.Context(), api.Claim{Session: "1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range e.listeners {
		l.Close()
	}
	if len(avoided) != 2 || len(avoided[0]) != 0 || !slices.Equal(avoided[1], []cardbroker.Port{port}) {
		t.Errorf("asked to avoid %v, want nothing, then %d", avoided, port)
	}
}

func TestPortsThatAreAllTaken(t *testing.T) {
	taken, err := httpserver.ListenLoopback(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range taken {
		defer l.Close()
	}
	port := cardbroker.Port(taken[0].Addr().(*net.TCPAddr).Port)
	a := newTestAgent(t, fakeRegistry{reserve: func(api.Claim) (api.Reservation, error) { return api.Reservation{Port: port}, nil }})
	if _, err := a.bind(t.Context(), api.Claim{Session: "1"}); cardbroker.ReasonOf(err) != cardbroker.PortsExhausted {
		t.Errorf("bind = %v, want ports_exhausted", err)
	}
}

// TestWaitsForABroker binds nothing and asks less and less often, but at least every 30 s.
func TestWaitsForABroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []time.Time
		a := newTestAgent(t, fakeRegistry{reserve: func(api.Claim) (api.Reservation, error) {
			asked = append(asked, time.Now())
			return api.Reservation{}, errNoBroker
		}})
		group := run.New(t.Context())
		group.Go("enrol", a.enrol)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if err := group.Stop(); err != nil {
			t.Errorf("enrol = %v, want nil when the session ends", err)
		}
		var longest time.Duration
		for i := range asked[1:] {
			longest = max(longest, asked[i+1].Sub(asked[i]))
		}
		if longest > enrolDelay || longest < enrolDelay/2 || len(asked) > 50 {
			t.Errorf("asked %d times in 10 min, at most %v apart; want at most %v", len(asked), longest, enrolDelay)
		}
	})
}

// TestSecondAgentOfASessionEnds: and it leaves alone what the first one holds, whose journal may be half made.
func TestSecondAgentOfASessionEnds(t *testing.T) {
	conflict := cardbroker.Errorf(cardbroker.Conflict, "an agent of this session is registered")
	a := newRunnable(t, fakeRegistry{reserve: func(api.Claim) (api.Reservation, error) { return api.Reservation{}, conflict }})
	folder, err := a.home.Journals(a.cfg.Session)
	if err != nil {
		t.Fatal(err)
	}
	j, err := folder.Create("first", []byte("the note is being written"), cardbroker.DurabilityCrash)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if err := a.Run(t.Context()); !errors.Is(err, conflict) {
		t.Errorf("Run = %v, want %v", err, conflict)
	}
	if names := folder.Names(); !slices.Equal(names, []string{"first"}) {
		t.Errorf("the first agent's journals are %v, want one", names)
	}
}

// linked is a registry that says when the agent has its port and wants its link.
type linked struct {
	fakeRegistry
	stop context.CancelFunc
}

func (l linked) Link(context.Context) (*socket.Conn, error) {
	l.stop()
	return nil, errNoBroker
}

// TestStandingLeaseEndsWithItsPolicy: what machine policy does not offer any more, is not held for the back end that had it.
func TestStandingLeaseEndsWithItsPolicy(t *testing.T) {
	for _, standing := range []bool{true, false} {
		ctx, stop := context.WithCancel(t.Context())
		any := fakeRegistry{reserve: func(api.Claim) (api.Reservation, error) { return api.Reservation{Port: 0}, nil }}
		a := newRunnable(t, linked{any, stop})
		folder, err := a.home.Journals(a.cfg.Session)
		if err != nil {
			t.Fatal(err)
		}
		name := cardend.TunnelID{1}.String()
		note, err := json.Marshal(cardend.Note{Tunnel: name, Tenant: "issuer", Reader: "Reader 0", Standing: standing,
			Expires: time.Now().Add(time.Hour), Token: strings.Repeat("ab", 32)})
		if err != nil {
			t.Fatal(err)
		}
		j, err := folder.Create(name, note, cardbroker.DurabilityCrash)
		if err != nil {
			t.Fatal(err)
		}
		j.Close()
		if err := a.Run(ctx); err != nil {
			t.Errorf("Run = %v", err)
		}
		if left := len(folder.Names()) == 1; left == standing {
			t.Errorf("standing %v: the lease is left for the next agent: %v", standing, left)
		}
	}
}

// TestSaysOnceWhyThereIsNoLink has nobody answer for an hour.
func TestSaysOnceWhyThereIsNoLink(t *testing.T) {
	a := newTestAgent(t, fakeRegistry{})
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		a.cfg.Log, a.waits = slog.New(slog.NewTextHandler(&log, nil)), a.home.Waiting("1")
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := a.registered(ctx, enrolment{delay: run.NewBackoff(firstDelay, reattachDelay)}); err != nil {
			t.Errorf("registered() = %v", err)
		}
		if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), "no broker answers") {
			t.Errorf("the log has %d lines, want one that says why:\n%.500s", n, log.String())
		}
		if w, there := home.ReadWaits(a.home.Dir(), "1"); !there || w.Why == nil || !strings.Contains(w.Why.Description, "no broker answers") {
			t.Errorf("the note says %+v", w)
		}
	})
}
