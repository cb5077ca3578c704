// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/home"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/epoch"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/peer"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

// polls is a registry that was elected, or a service, as the agent meets it. Its terms are the test's goroutine's.
type polls struct {
	fakeRegistry
	t     *testing.T
	at    string
	maker *socket.Maker
	links chan *socket.Conn // that the agent has opened

	leader    cardbroker.UserID
	service   atomic.Bool
	self      atomic.Pointer[api.Voter]
	changed   chan struct{}
	appointed chan []api.Voter
}

// newPolls returns it, and an agent of its. ended waits for that, and says how it has ended.
func newPolls(t *testing.T, leader cardbroker.UserID) (p *polls, a *Agent, ended func() error) {
	t.Helper()
	p = &polls{t: t, maker: socket.NewMaker(api.LinkProtocol), links: make(chan *socket.Conn, 8), leader: leader,
		changed: make(chan struct{}, 1), appointed: make(chan []api.Voter, 1)}
	p.self.Store(&api.Voter{Name: "me", Born: 1})
	p.reserve = func(api.Claim) (api.Reservation, error) {
		free, err := httpserver.ListenLoopback(t.Context(), 0)
		for _, l := range free {
			l.Close()
		}
		return api.Reservation{Port: cardbroker.Port(free[0].Addr().(*net.TCPAddr).Port)}, err
	}
	listener, err := httpserver.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.at = listener.Addr().String()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if conn, err := p.maker.Upgrade(w, r); err == nil {
			p.links <- conn
		}
	})}
	done := make(chan struct{})
	go func() { defer close(done); server.Serve(listener) }()
	t.Cleanup(func() { server.Close(); <-done })
	if a, err = New(Config{Session: "1", State: t.TempDir() + "/state", Ready: func(home.Note) {}, Log: slog.New(slog.DiscardHandler), Election: p}, p); err != nil {
		t.Fatal(err)
	}
	group := run.New(t.Context())
	group.Go("agent", a.Run)
	t.Cleanup(func() { group.Stop() })
	return p, a, group.Wait
}

func (p *polls) Link(ctx context.Context) (*socket.Conn, error) {
	conn, _, err := p.maker.Dial(ctx, socket.Dial{URL: "ws://" + p.at})
	return conn, err
}
func (p *polls) Leader() (cardbroker.UserID, bool) { return p.leader, !p.service.Load() }
func (p *polls) Appoint(voters []api.Voter)        { p.appointed <- voters }
func (p *polls) Self() api.Voter                   { return *p.self.Load() }
func (p *polls) Changed() <-chan struct{}          { return p.changed }

// next waits for the agent's next link, and its first word.
func (p *polls) next() (*socket.Conn, api.Register) {
	p.t.Helper()
	select {
	case conn := <-p.links:
		p.t.Cleanup(func() { conn.Close() })
		return conn, *p.hear(conn, func(m api.FromAgent) bool { return m.Register != nil }).Register
	case <-time.After(10 * time.Second):
		p.t.Fatal("the agent opens no link")
	}
	return nil, api.Register{}
}

// hear waits for a message of the agent.
func (p *polls) hear(conn *socket.Conn, wanted func(api.FromAgent) bool) api.FromAgent {
	p.t.Helper()
	conn.LimitSilence(10 * time.Second)
	for {
		var m api.FromAgent
		if err := conn.NextJSON(&m); err != nil {
			p.t.Fatalf("the link ends: %v", err)
		}
		if wanted(m) {
			return m
		}
	}
}

// admit registers the agent.
func (p *polls) admit(conn *socket.Conn, r api.Register, term uint64) {
	p.t.Helper()
	mode := api.ModeElected
	if p.service.Load() {
		mode = api.ModeService
	}
	if err := conn.WriteJSON(api.FromBroker{Registered: &api.Registered{Port: r.Port, Route: "0011223344556677", Host: "h", Epoch: term, Mode: mode}}); err != nil {
		p.t.Fatal(err)
	}
}

// refuse says no.
func (p *polls) refuse(conn *socket.Conn, err error) {
	failed := api.Describe(err)
	conn.WriteJSON(api.FromBroker{Failed: &failed})
	conn.Close()
}

// TestAssertsItsPort: the port stays the agent's through the deaths and refusals of those who were elected, and of a service that knows
// of none of it.
func TestAssertsItsPort(t *testing.T) {
	p, a, _ := newPolls(t, peer.Self())
	conn, first := p.next()
	if first.Port == 0 || first.Voter == nil || *first.Voter != p.Self() {
		t.Fatalf("the agent asserts %+v, want its port, and who it is", first)
	}
	now := epoch.Now()
	p.admit(conn, first, now-9)
	p.self.Store(&api.Voter{Name: "me", Born: 1, Gossip: netip.MustParseAddrPort("127.0.0.1:7")})
	p.changed <- struct{}{}
	if m := p.hear(conn, func(m api.FromAgent) bool { return m.Voter != nil }); *m.Voter != p.Self() {
		t.Errorf("the agent says that it is %+v, want %+v", m.Voter, p.Self())
	}
	if err := conn.WriteJSON(api.FromBroker{Voters: &api.Voters{Voters: []api.Voter{p.Self()}}}); err != nil {
		t.Fatal(err)
	}
	if got := <-p.appointed; len(got) != 1 || got[0] != p.Self() {
		t.Errorf("appointed are %+v", got)
	}
	if got := a.registration.Load(); got == nil || got.Mode != api.ModeElected {
		t.Errorf("the agent is registered as %+v", got)
	}
	conn.Close()

	again := func(what string, answer func(*socket.Conn, api.Register)) {
		t.Helper()
		conn, r := p.next()
		if r.Port != first.Port || r.Claim.Claim != first.Claim.Claim {
			t.Errorf("%s: the agent asserts port %d, and has had %d", what, r.Port, first.Port)
		}
		answer(conn, r)
	}
	says := func(m api.FromBroker) func(*socket.Conn, api.Register) {
		return func(conn *socket.Conn, r api.Register) {
			p.admit(conn, r, now) // which has the next link come soon
			conn.WriteJSON(m)
		}
	}
	refuses := func(reason cardbroker.Reason) func(*socket.Conn, api.Register) {
		return func(conn *socket.Conn, _ api.Register) { p.refuse(conn, cardbroker.Errorf(reason, "no")) }
	}
	again("not its user's", refuses(cardbroker.CallerRefused))
	again("no claim", refuses(cardbroker.Unauthenticated))
	again("a tunnel", says(api.FromBroker{Open: &api.TunnelOpen{}}))
	again("a conflict", refuses(cardbroker.Conflict))
	again("too many", refuses(cardbroker.RateLimited))
	again("a connection", says(api.FromBroker{Forward: &api.Forward{}}))
	again("an older term", func(conn *socket.Conn, r api.Register) { p.admit(conn, r, now-10) })
	again("a term to come", func(conn *socket.Conn, r api.Register) { p.admit(conn, r, now+3_600_000_000) })
	again("an end", says(api.FromBroker{Kicked: &api.Kicked{}}))
	again("another port", func(conn *socket.Conn, r api.Register) { r.Port++; p.admit(conn, r, now) })
	again("a revocation", says(api.FromBroker{Revoke: &api.RevokeLease{}}))
	p.service.Store(true)
	conn, r := p.next()
	if r.Port != first.Port {
		t.Errorf("a service is told of port %d, want %d", r.Port, first.Port)
	}
	p.refuse(conn, cardbroker.Errorf(cardbroker.Unauthenticated, "the port is mine"))
	if _, r := p.next(); r.Claim.Claim == first.Claim.Claim {
		t.Errorf("after the service's no the agent has not reserved anew")
	}
}

// TestSecondAgentWhereElected: another agent of the session ends this one if our own user's registry says so, and says so at first. What
// another user's says is no reason to end.
func TestSecondAgentWhereElected(t *testing.T) {
	conflict := cardbroker.Errorf(cardbroker.Conflict, "an agent of this session is registered")
	p, _, ended := newPolls(t, peer.Self())
	conn, _ := p.next()
	p.refuse(conn, cardbroker.Refusef(cardbroker.Conflict, cardbroker.RulePortTaken, "somebody leaves it"))
	conn, _ = p.next()
	p.refuse(conn, conflict)
	if err := ended(); cardbroker.ReasonOf(err) != cardbroker.Conflict {
		t.Errorf("enrol = %v, want conflict", err)
	}

	p, a, _ := newPolls(t, cardbroker.UserID{UID: peer.Self().UID + 1})
	conn, _ = p.next()
	p.refuse(conn, conflict)
	conn, r := p.next()
	p.admit(conn, r, epoch.Now())
	conn.WriteJSON(api.FromBroker{Voters: &api.Voters{}})
	<-p.appointed
	if got := a.registration.Load(); got == nil || !got.Sharing.Shared {
		t.Errorf("with another user's registry the agent is registered as %+v, want that the host is shared", got)
	}
}

// TestRegistryThatNeverAnswers takes the agent's link and says nothing, like a process that was stopped right then: the agent ends the link
// and opens another.
func TestRegistryThatNeverAnswers(t *testing.T) {
	t.Parallel() // it waits until the agent has had enough
	p, _, _ := newPolls(t, peer.Self())
	p.next()
	second, r := p.next()
	p.admit(second, r, epoch.Now())
}
