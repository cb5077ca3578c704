// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package rendezvous_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/virtualreader"
	"github.com/cardbroker/cardbroker/virtualreader/rendezvous"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

var _ virtualreader.Rendezvous = (*rendezvous.Rendezvous)(nil)

const token = "a token of enough characters"

// site is a rendezvous and the authority that it and its hosts have certificates of.
type site struct {
	*rendezvous.Rendezvous
	t *testing.T
	a *testenv.Authority
}

func newSite(t *testing.T, names ...string) *site {
	t.Helper()
	a := testenv.NewAuthority(t)
	pair := a.Issue(t, "")
	r, err := rendezvous.Listen(t.Context(), rendezvous.Config{
		Addr:        "127.0.0.1:0",
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &pair, nil },
		CA:          a.Pool,
		Names:       names,
		Token:       func() (cardbroker.Secret, error) { return cardbroker.NewSecret([]byte(token)), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &site{Rendezvous: r, t: t, a: a}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return s
}

// host is one that calls, with a certificate for its name or with a token.
type host struct {
	*socket.Conn
	s     *site
	tls   *tls.Config
	token string
}

// call calls as a host: with a certificate, unless that is nil, and with a token, unless that is "".
func (s *site) call(name string, pair *tls.Certificate, token string) (*host, error) {
	h := &host{s: s, tls: &tls.Config{RootCAs: s.a.Pool}, token: token}
	if pair != nil {
		h.tls.Certificates = []tls.Certificate{*pair}
	}
	header := http.Header{}
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	conn, response, err := socket.NewJSONMaker(api.RendezvousProtocol).Dial(s.within(), socket.Dial{
		URL: "wss://" + s.Addr().String() + "/cb/v1/rendezvous", Header: header, TLS: h.tls})
	if response != nil {
		return nil, api.ReadError(response)
	}
	if err != nil {
		return nil, err
	}
	s.t.Cleanup(func() { conn.Close() })
	h.Conn = conn
	if err := conn.WriteJSON(api.FromHost{Hello: &api.HostHello{Host: name}}); err != nil {
		return nil, err
	}
	var m api.FromRendezvous
	if err := conn.NextJSON(&m); err != nil {
		return nil, err
	}
	if m.Welcome == nil {
		return nil, fmt.Errorf("the first word is %+v", m)
	}
	return h, nil
}

// certified is a host with a certificate.
func (s *site) certified(name string) *host {
	s.t.Helper()
	pair := s.a.Issue(s.t, name)
	h, err := s.call("a name that does not count", &pair, "")
	if err != nil {
		s.t.Fatal(err)
	}
	s.knows(name)
	return h
}

// byToken is a host with the token.
func (s *site) byToken(name string) *host {
	s.t.Helper()
	h, err := s.call(name, nil, token)
	if err != nil {
		s.t.Fatal(err)
	}
	s.knows(strings.ToLower(name))
	return h
}

// knows waits until the rendezvous shows a host that has called.
func (s *site) knows(name string) {
	s.t.Helper()
	var known []string
	for !slices.Contains(known, name) {
		hosts, err := s.Beyond(s.within(), known)
		if err != nil {
			s.t.Fatalf("%s is not known: %v", name, err)
		}
		known = append(known, hosts...)
	}
}

// asked returns the id that the host is asked for next.
func (h *host) asked() string {
	h.s.t.Helper()
	var m api.FromRendezvous
	if err := h.NextJSON(&m); err != nil || m.Connect == nil {
		h.s.t.Fatalf("the host is asked for %+v, %v, want a connection", m, err)
	}
	return m.Connect.ID
}

// bring brings a connection, and returns the answer's status.
func (h *host) bring(id string) (net.Conn, int) {
	h.s.t.Helper()
	dialer := tls.Dialer{Config: h.tls}
	conn, err := dialer.DialContext(h.s.within(), "tcp", h.s.Addr().String())
	if err != nil {
		h.s.t.Fatal(err)
	}
	h.s.t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "GET /cb/v1/rendezvous/%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n",
		id, h.token, api.ReverseProtocol)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return conn, 0
	}
	return conn, response.StatusCode
}

func (s *site) within() context.Context {
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	s.t.Cleanup(cancel)
	return ctx
}

// dialled is what became of a Dial.
type dialled struct {
	conn net.Conn
	err  error
}

// dial dials a host beside the test.
func (s *site) dial(ctx context.Context, name string) <-chan dialled {
	done := make(chan dialled, 1)
	group := run.New(s.t.Context())
	group.Go("dial", func(context.Context) error {
		conn, err := s.Dial(ctx, name)
		done <- dialled{conn, err}
		return nil
	})
	s.t.Cleanup(func() { group.Stop() })
	return done
}

// TestOnlyWhoIsAskedBrings: a connection is brought by the host that was asked for it, once, and by no other one, whatever it
// knows.
func TestOnlyWhoIsAskedBrings(t *testing.T) {
	s := newSite(t)
	alpha, beta, gamma := s.certified("alpha"), s.certified("beta"), s.byToken("gamma")
	done := s.dial(s.within(), "alpha")
	id := alpha.asked()
	for name, thief := range map[string]*host{"another host": beta, "a host with the token": gamma} {
		if _, status := thief.bring(id); status != http.StatusUnauthorized {
			t.Errorf("%s brings the connection: status %d, want 401", name, status)
		}
	}
	if err := beta.WriteJSON(api.FromHost{Failed: &api.ConnectFailed{ID: id, Error: api.Describe(cardbroker.Errorf(cardbroker.Forbidden, "stolen"))}}); err != nil {
		t.Fatal(err)
	}
	if _, status := alpha.bring(strings.Repeat("0", 32)); status != http.StatusUnauthorized {
		t.Errorf("another id: status %d, want 401", status)
	}
	conn, status := alpha.bring(id)
	if status != http.StatusSwitchingProtocols {
		t.Fatalf("the host that was asked: status %d, want 101", status)
	}
	got := <-done
	if got.err != nil {
		t.Fatal(got.err)
	}
	defer got.conn.Close()
	io.WriteString(got.conn, "x")
	if b := make([]byte, 1); true {
		if _, err := io.ReadFull(conn, b); err != nil || b[0] != 'x' {
			t.Errorf("the host reads %q, %v, want x", b, err)
		}
	}
	if _, status := alpha.bring(id); status != http.StatusUnauthorized {
		t.Errorf("the same id again: status %d, want 401", status)
	}
}

// TestWhoMayCall: nobody without a certificate that is meant, or the token.
func TestWhoMayCall(t *testing.T) {
	s := newSite(t, "vda1.example", "VDA2.example")
	issue := func(a *testenv.Authority, name string, usages ...x509.ExtKeyUsage) *tls.Certificate {
		pair := a.Issue(t, name, usages...)
		return &pair
	}
	for _, test := range []struct {
		name  string
		pair  *tls.Certificate
		token string
		may   bool
	}{
		{"one of the names", issue(s.a, "vda1.example"), "", true},
		{"one of the names in other letters", issue(s.a, "vda2.EXAMPLE"), "", true},
		{"another name", issue(s.a, "vda3.example"), "", false},
		{"another name and the token", issue(s.a, "vda3.example"), token, false},
		{"no name", issue(s.a, ""), "", false},
		{"a name for terminals", issue(s.a, "vda1.example\x1b[2J"), "", false},
		{"a server's certificate", issue(s.a, "vda1.example", x509.ExtKeyUsageServerAuth), "", false},
		{"another authority", issue(testenv.NewAuthority(t), "vda1.example"), "", false},
		{"the token", nil, token, true},
		{"the token and more", nil, token + "x", false},
		{"half the token", nil, token[:10], false},
		{"nothing", nil, "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := s.call("vda9", test.pair, test.token); (err == nil) != test.may {
				t.Errorf("call = %v, want that it may: %v", err, test.may)
			}
		})
	}
	for _, name := range []string{"", "../x", "a b", "vda\n", strings.Repeat("v", 254)} {
		if _, err := s.call(name, nil, token); err == nil {
			t.Errorf("a host may call itself %q", name)
		}
	}
}

// TestListenRefuses: a rendezvous that would let everybody in.
func TestListenRefuses(t *testing.T) {
	a := testenv.NewAuthority(t)
	pair := a.Issue(t, "")
	own := func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &pair, nil }
	short := func() (cardbroker.Secret, error) { return cardbroker.NewSecret([]byte("short")), nil }
	for name, cfg := range map[string]rendezvous.Config{
		"no certificate":   {CA: a.Pool},
		"nobody who calls": {Certificate: own},
		"names and no CA":  {Certificate: own, Names: []string{"x"}, Token: short},
		"a short token":    {Certificate: own, Token: short},
		"an empty token":   {Certificate: own, Token: func() (cardbroker.Secret, error) { return cardbroker.Secret{}, nil }},
		"an unusable token": {Certificate: own, Token: func() (cardbroker.Secret, error) {
			return cardbroker.Secret{}, cardbroker.Errorf(cardbroker.Invalid, "x")
		}},
	} {
		cfg.Addr = "127.0.0.1:0"
		if r, err := rendezvous.Listen(t.Context(), cfg); cardbroker.ReasonOf(err) != cardbroker.Invalid {
			t.Errorf("%s: %v, want invalid", name, err)
			if err == nil {
				r.Close()
			}
		}
	}
}

// TestNames: a host that calls again takes the place of its call before; the token takes no name from who has a certificate
// for it.
func TestNames(t *testing.T) {
	s := newSite(t)
	first := s.byToken("VDA1")
	second := s.byToken("vda1")
	if err := first.NextJSON(new(api.FromRendezvous)); err == nil {
		t.Error("the call before goes on")
	}
	certified := s.certified("vda1")
	if err := second.NextJSON(new(api.FromRendezvous)); err == nil {
		t.Error("the call by token goes on, though the host with the certificate has called")
	}
	if _, err := s.call("vda1", nil, token); err == nil {
		t.Error("the token has taken the name from the certificate")
	}
	s.byToken("vda2")
	hosts, err := s.Beyond(s.within(), nil)
	if err != nil || !slices.Equal(hosts, []string{"vda1", "vda2"}) {
		t.Errorf("Beyond = %q, %v, want both", hosts, err)
	}
	done := s.dial(s.within(), "vda1")
	certified.asked()
	certified.Close()
	if got := <-done; cardbroker.ReasonOf(got.err) != cardbroker.Unavailable {
		t.Errorf("Dial = %v, want unavailable: the host has hung up", got.err)
	}
}

// TestDialEnds: every wait for a connection ends.
func TestDialEnds(t *testing.T) {
	s := newSite(t)
	if _, err := s.Dial(s.within(), "nobody"); cardbroker.ReasonOf(err) != cardbroker.Unavailable {
		t.Errorf("a host that has not called: %v, want unavailable", err)
	}
	h := s.byToken("vda1")
	done := s.dial(s.within(), "vda1")
	full := cardbroker.Errorf(cardbroker.Overloaded, "full")
	if err := h.WriteJSON(api.FromHost{Failed: &api.ConnectFailed{ID: h.asked(), Error: api.Describe(full)}}); err != nil {
		t.Fatal(err)
	}
	if got := <-done; cardbroker.ReasonOf(got.err) != cardbroker.Overloaded {
		t.Errorf("Dial = %v, want what the host says: overloaded", got.err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done = s.dial(ctx, "vda1")
	id := h.asked()
	cancel()
	if got := <-done; cardbroker.ReasonOf(got.err) != cardbroker.Canceled {
		t.Errorf("Dial = %v, want canceled", got.err)
	}
	if _, status := h.bring(id); status != http.StatusUnauthorized {
		t.Errorf("the connection comes too late: status %d, want 401", status)
	}
	done = s.dial(s.within(), "vda1")
	h.asked()
	s.Close()
	if got := <-done; cardbroker.ReasonOf(got.err) != cardbroker.Unavailable {
		t.Errorf("Dial = %v, want unavailable: the rendezvous is closed", got.err)
	}
	if _, err := s.Beyond(s.within(), []string{"vda1"}); cardbroker.ReasonOf(err) != cardbroker.Unavailable {
		t.Errorf("Beyond = %v, want unavailable", err)
	}
}

// TestBounds: a host is asked for so many connections at a time, and may not say more than it has to.
func TestBounds(t *testing.T) {
	s := newSite(t)
	h := s.byToken("vda1")
	for range 256 {
		s.dial(s.within(), "vda1")
		h.asked()
	}
	if _, err := s.Dial(s.within(), "vda1"); cardbroker.ReasonOf(err) != cardbroker.Overloaded {
		t.Errorf("one more: %v, want overloaded", err)
	}
	for name, say := range map[string]any{
		"a flood":       api.FromHost{Ping: &api.RendezvousPing{}},
		"nothing":       api.FromHost{},
		"hello again":   api.FromHost{Hello: &api.HostHello{Host: "x"}},
		"what is no ID": api.FromHost{Failed: &api.ConnectFailed{ID: strings.Repeat("x", 1<<20)}},
	} {
		h := s.byToken("vda2")
		for range 5000 {
			if h.WriteJSON(say) != nil {
				break
			}
		}
		if err := h.NextJSON(new(api.FromRendezvous)); err == nil {
			t.Errorf("%s: the call goes on", name)
		}
	}
}

// TestBeyondWaits: for a host that is not known yet, until there is one.
func TestBeyondWaits(t *testing.T) {
	s := newSite(t)
	s.byToken("vda1")
	found := make(chan []string, 1)
	group := run.New(t.Context())
	group.Go("look", func(ctx context.Context) error {
		hosts, err := s.Beyond(ctx, []string{"vda1"})
		found <- hosts
		return err
	})
	s.byToken("vda2")
	if hosts := <-found; !slices.Equal(hosts, []string{"vda2"}) {
		t.Errorf("Beyond = %q, want vda2", hosts)
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}
