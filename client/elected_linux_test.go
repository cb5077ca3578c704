// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/peer"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/test/stage"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

// alice is another user.
var alice = cardbroker.UserID{UID: 61001}

// sought is what an Elected has sought, and found nobody.
type sought struct {
	calls     int
	notBefore time.Time
}

// errSought ends the search: nobody takes office here.
var errSought = cardbroker.Errorf(cardbroker.NoLeader, "sought")

// newElected returns a client on a host without a service, whose registry would be at the port.
func newElected(t *testing.T, port cardbroker.Port, change func(*ElectedConfig)) (*Elected, *sought) {
	t.Helper()
	s := &sought{}
	cfg := ElectedConfig{
		Service: NewBroker(BrokerConfig{Socket: t.TempDir() + "/broker.sock", Accounts: []cardbroker.UserID{peer.Self()}}),
		Port:    port, Ports: cardbroker.Ports{20, 21, 22, 23, 24, 25, 26, 27}, AfterService: true, Secret: cardbroker.NewSecret([]byte("secret")),
		Seek: func(ctx context.Context, notBefore time.Time, dial func(context.Context) error) error {
			if err := dial(ctx); cardbroker.ReasonOf(err) != cardbroker.Unavailable {
				return err
			}
			s.calls, s.notBefore = s.calls+1, notBefore
			return errSought
		},
		Log: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&cfg)
	}
	e := NewElected(cfg)
	t.Cleanup(e.Close)
	return e, s
}

// listen listens on both loopback addresses, as a user.
func listen(t *testing.T, user cardbroker.UserID) (listeners []net.Listener, port cardbroker.Port) {
	t.Helper()
	var err error
	as(t, user, func() { listeners, err = httpserver.ListenLoopback(t.Context(), 0) })
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range listeners {
		t.Cleanup(func() { l.Close() })
	}
	return listeners, cardbroker.Port(listeners[0].Addr().(*net.TCPAddr).Port)
}

// as has f run as the user: sockets that it makes or accepts are his.
func as(t *testing.T, user cardbroker.UserID, f func()) {
	t.Helper()
	if user == peer.Self() {
		f()
		return
	}
	testenv.Root(t)
	if err := stage.As(user.UID, f); err != nil {
		t.Fatal(err)
	}
}

// links answers with a link, and with nothing on it. It is there until the other end closes it: one that is dropped is closed by
// the next collection of garbage.
func links(w http.ResponseWriter, r *http.Request) {
	maker := socket.NewMaker(api.LinkProtocol)
	if maker.Check(r) != nil {
		return
	}
	if conn, err := maker.Upgrade(w, r); err == nil {
		conn.Next()
		conn.Close()
	}
}

// serve answers on a listener until the test ends.
func serve(t *testing.T, l net.Listener, handle http.HandlerFunc) {
	t.Helper()
	server := &http.Server{Handler: handle}
	done := make(chan struct{})
	go func() { defer close(done); server.Serve(l) }()
	t.Cleanup(func() { server.Close(); <-done })
}

// serveService is a service of our own at the client's socket.
func serveService(t *testing.T, e *Elected, handle http.HandlerFunc) *net.UnixListener {
	t.Helper()
	l, err := httpserver.Listen(t.Context(), "unix", e.cfg.Service.cfg.Socket)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, l, handle)
	return l.(*net.UnixListener)
}

// link opens a link, and says what became of it.
func link(t *testing.T, e *Elected) (mode string, err error) {
	t.Helper()
	conn, err := e.Link(t.Context())
	if err != nil {
		return "", err
	}
	conn.Close()
	return e.mode, nil
}

// TestReserveWithoutService: the port is the session's, as long as it can be had, and never the registry's.
func TestReserveWithoutService(t *testing.T) {
	e, _ := newElected(t, 23, nil)
	claim := api.Claim{Session: "c2"}
	var got []cardbroker.Port
	for range len(e.cfg.Ports) - 1 {
		r, err := e.Reserve(t.Context(), claim)
		if err != nil || len(r.Listen) > 0 {
			t.Fatalf("Reserve = %+v, %v", r, err)
		}
		got = append(got, r.Port)
		claim.Avoid = append(claim.Avoid, r.Port)
	}
	if _, err := e.Reserve(t.Context(), claim); cardbroker.ReasonOf(err) != cardbroker.PortsExhausted {
		t.Errorf("Reserve = %v, want ports_exhausted", err)
	}
	sorted := slices.Sorted(slices.Values(got))
	if want := (cardbroker.Ports{20, 21, 22, 24, 25, 26, 27}); !slices.Equal(sorted, []cardbroker.Port(want)) {
		t.Errorf("proposed %v, want each of %v", got, want)
	}
	again, _ := newElected(t, 23, nil)
	if r, err := again.Reserve(t.Context(), api.Claim{Session: "c2"}); err != nil || r.Port != got[0] {
		t.Errorf("the next agent of the session is proposed %d, %v, want %d", r.Port, err, got[0])
	}
	different := map[cardbroker.Port]bool{}
	for _, session := range []cardbroker.SessionID{"1", "2", "3", "4", "5", "6"} {
		r, err := again.Reserve(t.Context(), api.Claim{Session: session})
		if err != nil {
			t.Fatal(err)
		}
		different[r.Port] = true
	}
	if len(different) < 2 {
		t.Errorf("all sessions are proposed the same port")
	}
	if err := e.Release(t.Context(), claim); err != nil {
		t.Errorf("Release = %v", err)
	}
}

// TestLinkToService: a service wins over whoever was elected, and nobody stands until 10 s after it was there.
func TestLinkToService(t *testing.T) {
	listeners, port := listen(t, peer.Self())
	serve(t, listeners[0], links)
	e, s := newElected(t, port, nil)
	if mode, err := link(t, e); mode != api.ModeElected || err != nil {
		t.Fatalf("without a service Link leads to %q, %v", mode, err)
	}
	if leader, elected := e.Leader(); leader != peer.Self() || !elected {
		t.Errorf("Leader = %v, %v, want ours", leader, elected)
	}
	service := serveService(t, e, links)
	if mode, err := link(t, e); mode != api.ModeService || err != nil {
		t.Fatalf("with a service Link leads to %q, %v", mode, err)
	}
	if leader, elected := e.Leader(); elected {
		t.Errorf("Leader = %v, want none", leader)
	}
	service.Close()
	listeners[0].Close()
	gone := time.Now()
	if _, err := link(t, e); !errors.Is(err, errSought) {
		t.Errorf("after the service Link = %v, want that an election is sought", err)
	}
	if wait := s.notBefore.Sub(gone); wait < afterService || wait > afterService+time.Minute {
		t.Errorf("nobody stands before %v after the service's end, want %v", wait, afterService)
	}
	first := s.notBefore
	if link(t, e); s.calls != 2 || s.notBefore != first {
		t.Errorf("the second time it is sought before %v, want %v", s.notBefore, first)
	}
}

// TestReleaseWhereLinked: to the service, or to whoever was elected.
func TestReleaseWhereLinked(t *testing.T) {
	released := make(chan string, 2)
	where := func(name string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/local/v1/release" {
				released <- name
				w.Write([]byte("{}"))
				return
			}
			links(w, r)
		}
	}
	listeners, port := listen(t, peer.Self())
	serve(t, listeners[0], where("elected"))
	e, _ := newElected(t, port, nil)
	for _, want := range []string{"elected", "service"} {
		if want == "service" {
			serveService(t, e, where("service"))
		}
		if _, err := link(t, e); err != nil {
			t.Fatal(err)
		}
		if err := e.Release(t.Context(), api.Claim{Session: "1"}); err != nil || <-released != want {
			t.Errorf("Release = %v, want it at the %s", err, want)
		}
	}
}

// TestServiceThatSaysNo is one all the same: nobody stands beside it.
func TestServiceThatSaysNo(t *testing.T) {
	_, port := listen(t, peer.Self())
	e, s := newElected(t, port, nil)
	serveService(t, e, func(w http.ResponseWriter, _ *http.Request) {
		api.WriteError(w, cardbroker.Errorf(cardbroker.RateLimited, "not now"))
	})
	if _, err := e.Reserve(t.Context(), api.Claim{Session: "1"}); cardbroker.ReasonOf(err) != cardbroker.RateLimited {
		t.Errorf("Reserve = %v, want rate_limited", err)
	}
	if _, err := link(t, e); cardbroker.ReasonOf(err) != cardbroker.RateLimited || s.calls != 0 {
		t.Errorf("Link = %v, sought %d times, want rate_limited", err, s.calls)
	}
}

// TestWaitsForService: where policy says so, whoever has seen a service, or finds the socket of one that was killed, waits for it.
func TestWaitsForService(t *testing.T) {
	for _, test := range []struct {
		name   string
		before func(*Elected)
		waits  bool
	}{
		{"there was none", func(*Elected) {}, false},
		{"seen", func(e *Elected) { serveService(t, e, links) }, true},
		{"left behind", func(e *Elected) {
			l := serveService(t, e, links)
			l.SetUnlinkOnClose(false)
			l.Close()
		}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			listeners, port := listen(t, peer.Self())
			for _, l := range listeners {
				l.Close()
			}
			e, s := newElected(t, port, func(c *ElectedConfig) { c.AfterService = false })
			test.before(e)
			if test.name == "seen" {
				if mode, err := link(t, e); mode != api.ModeService || err != nil {
					t.Fatalf("Link leads to %q, %v", mode, err)
				}
				e.cfg.Service = NewBroker(BrokerConfig{Socket: t.TempDir() + "/gone"})
			}
			_, err := link(t, e)
			if waits := cardbroker.ReasonOf(err) == cardbroker.Unavailable && strings.Contains(err.Error(), "after_service"); waits != test.waits || (s.calls == 0) != test.waits {
				t.Errorf("Link = %v, sought %d times, want that it waits: %v", err, s.calls, test.waits)
			}
			if _, err := e.Reserve(t.Context(), api.Claim{Session: "1"}); (err != nil) != test.waits {
				t.Errorf("Reserve = %v, want that it waits: %v", err, test.waits)
			}
		})
	}
}

// TestLinkToOthers: whoever is not to be trusted hears nothing, or no more than that we are there, and is named.
func TestLinkToOthers(t *testing.T) {
	testenv.Root(t)
	any := func(c *ElectedConfig) { c.AnyUser = true }
	for _, test := range []struct {
		name       string
		user       cardbroker.UserID // of the listener
		acceptedBy cardbroker.UserID
		change     func(*ElectedConfig)
		handle     http.HandlerFunc
		want       cardbroker.Reason
		says       string
		silence    bool // nothing is said to it
	}{
		{"another user's", alice, alice, nil, links, cardbroker.CallerRefused, "61001", true},
		{"another user's, where policy allows any", alice, alice, any, links, "", "", false},
		{"another user's end", peer.Self(), alice, nil, links, cardbroker.CallerRefused, "61001", false},
		{"another user's end, where policy allows any", peer.Self(), alice, any, links, cardbroker.CallerRefused, "61001", false},
		{"no registry", peer.Self(), peer.Self(), nil, func(w http.ResponseWriter, r *http.Request) {
			api.WriteError(w, cardbroker.Errorf(cardbroker.NotFound, ""))
		},
			cardbroker.Unsupported, "no registry", false},
		{"one that refuses us", peer.Self(), peer.Self(), nil, func(w http.ResponseWriter, r *http.Request) {
			api.WriteError(w, cardbroker.Errorf(cardbroker.CallerRefused, "not you"))
		},
			cardbroker.CallerRefused, "not you", false},
		{"one that is going", peer.Self(), peer.Self(), nil, func(w http.ResponseWriter, r *http.Request) {
			api.WriteError(w, cardbroker.Errorf(cardbroker.Unavailable, "going"))
		},
			cardbroker.NoLeader, "sought", false},
		{"one that hangs", peer.Self(), peer.Self(), nil, nil, cardbroker.Timeout, "hangs", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			listeners, port := listen(t, test.user)
			heard := make(chan struct{}, 8)
			if test.handle != nil {
				serve(t, acceptor{listeners[0], t, test.acceptedBy}, func(w http.ResponseWriter, r *http.Request) {
					heard <- struct{}{}
					test.handle(w, r)
				})
			}
			e, _ := newElected(t, port, test.change)
			if test.handle == nil {
				e.limit = time.Second
			}
			_, err := link(t, e)
			if cardbroker.ReasonOf(err) != test.want || err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("Link = %v, want %q with %q", err, test.want, test.says)
			}
			if test.handle != nil && (len(heard) == 0) != test.silence {
				t.Errorf("it has heard of us: %v", len(heard) > 0)
			}
			if leader, elected := e.Leader(); elected != (test.want == "") || elected && leader != test.user {
				t.Errorf("Leader = %v, %v", leader, elected)
			}
		})
	}
}

// acceptor accepts as a user.
type acceptor struct {
	net.Listener
	t    *testing.T
	user cardbroker.UserID
}

func (a acceptor) Accept() (conn net.Conn, err error) {
	as(a.t, a.user, func() { conn, err = a.Listener.Accept() })
	return conn, err
}

// TestTwoUsersOneAddressEach is a registry that is nobody's.
func TestTwoUsersOneAddressEach(t *testing.T) {
	listeners, port := listen(t, peer.Self())
	if len(listeners) < 2 {
		testenv.Skip(t, "needs IPv6")
	}
	listeners[1].Close()
	as(t, alice, func() {
		l, err := httpserver.Listen(t.Context(), "tcp6", listeners[1].Addr().String())
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { l.Close() })
	})
	e, _ := newElected(t, port, func(c *ElectedConfig) { c.AnyUser = true })
	if _, err := link(t, e); cardbroker.RuleOf(err) != cardbroker.RuleListenerForeign || !strings.Contains(err.Error(), "61001") {
		t.Errorf("Link = %v, want that it is refused and names user 61001", err)
	}
}

// TestLinkAfterItsEnd: when to dial once whoever was elected has gone is the election's matter, or all agents would do it at once.
func TestLinkAfterItsEnd(t *testing.T) {
	listeners, port := listen(t, peer.Self())
	serve(t, listeners[0], links)
	seeks := 0
	e, _ := newElected(t, port, func(c *ElectedConfig) {
		c.Seek = func(ctx context.Context, _ time.Time, dial func(context.Context) error) error {
			seeks++
			return dial(ctx)
		}
	})
	for want := range 3 { // the first time it looks by itself whether somebody is there
		if mode, err := link(t, e); mode != api.ModeElected || err != nil || seeks != want {
			t.Fatalf("Link %d leads to %q, %v, by %d searches, want %d", want+1, mode, err, seeks, want)
		}
	}
}
