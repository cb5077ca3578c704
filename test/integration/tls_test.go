// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/test/stage"
)

// newTLS sets the stage with a broker that speaks TLS with certificates of its own authority, and on a fixed port.
func newTLS(t *testing.T, further string) (h *host, alice, bob *stage.Person) {
	t.Helper()
	h, alice, bob = newAttack(t)
	h.config = "tls: {local_ca: true" + further + "}\nfixed_ports: [{port: 0, tls: true}]\n"
	h.start()
	return h, alice, bob
}

// trust returns what a browser speaks that trusts the host's authority.
func (h *host) trust() *tls.Config {
	h.t.Helper()
	ca, err := os.ReadFile(h.Path("state", "tls", "ca.pem"))
	if err != nil {
		h.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return &tls.Config{RootCAs: roots, ServerName: "localhost", NextProtos: []string{"http/1.1"}}
}

// secure opens a TLS connection as p; config nil: with the host's authority.
func (h *host) secure(p *stage.Person, to string) *tls.Conn {
	h.t.Helper()
	conn := tls.Client(h.mustDial(p, "tcp", to), h.trust())
	if err := conn.HandshakeContext(h.Context()); err != nil {
		h.t.Fatalf("%s: no TLS with %s: %v", p.Name, to, err)
	}
	return conn
}

// get asks for a path on an open connection.
func get(t *testing.T, conn net.Conn, to, path string, headers ...string) answer {
	t.Helper()
	lines := append([]string{"GET " + path + " HTTP/1.1", "Host: " + to}, headers...)
	a, err := exchange(conn, strings.Join(lines, "\r\n")+"\r\n\r\n")
	if err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	return a
}

// ways are how one opens a connection.
func (h *host) ways(p *stage.Person, to string) map[string]net.Conn {
	h.t.Helper()
	return map[string]net.Conn{"https": h.secure(p, to), "http": h.mustDial(p, "tcp", to)}
}

// TestBrowsersOverTLS has two users use their own agents, and each other's, on one port over TLS and without.
func TestBrowsersOverTLS(t *testing.T) {
	h, alice, bob := newTLS(t, "")
	_, hers := h.logon(alice)
	_, his := h.logon(bob)
	for _, address := range append(hers.Listen, h.ready.Listen...) {
		for scheme, conn := range h.ways(alice, address) {
			var info api.Info
			a := get(t, conn, address, "/info")
			if err := json.Unmarshal(a.Body, &info); err != nil {
				t.Fatalf("/info: %d %s", a.Status, a.Body)
			}
			want := "http://127.0.0.1"
			if scheme == "https" {
				want = "https://" + address[:strings.LastIndex(address, ":")]
			}
			if info.API.Service.URL != want || !strings.HasSuffix(address, fmt.Sprint(":", info.API.Service.APIPort)) {
				t.Errorf("%s %s: service = %+v, want url %s", scheme, address, info.API.Service, want)
			}
		}
	}
	fixed, readers := h.ready.Fixed[0], map[*stage.Person]string{}
	for _, test := range []struct {
		who    *stage.Person
		to     string
		status int
		want   string // reason and rule
	}{
		{alice, hers.Listen[0], 200, ""},
		{bob, his.Listen[0], 200, ""},
		{bob, hers.Listen[0], 403, "caller_refused other_user"},
		{alice, his.Listen[1], 403, "caller_refused other_user"},
		{alice, fixed, 200, ""},
		{bob, fixed, 200, ""},
	} {
		for scheme, conn := range h.ways(test.who, test.to) {
			a := get(t, conn, test.to, "/v3/readers")
			if a.Status != test.status || a.reason() != test.want {
				t.Errorf("%s on %s://%s: %d %s, want %d %s", test.who.Name, scheme, test.to, a.Status, a.Body, test.status, test.want)
			}
			if test.status != 200 {
				continue
			}
			if own := readers[test.who]; own != "" && own != string(a.Body) { // ids of readers are each agent's own
				t.Errorf("%s on %s://%s: %s, want %s", test.who.Name, scheme, test.to, a.Body, own)
			}
			readers[test.who] = string(a.Body)
		}
	}
	if readers[alice] == readers[bob] {
		t.Errorf("alice and bob both see %s", readers[bob])
	}
	for _, session := range h.sessions() {
		if !session.Held || !session.ListenerOK {
			t.Errorf("session = %+v, want it held by the broker, and well so", session)
		}
	}
	for _, p := range []*stage.Person{alice, bob} {
		var status struct{ Port cardbroker.Port }
		h.run(p, 0, &status, "agent", "status", "--socket", h.socket, "--state", p.Home+"/state")
	}
	h.offer(alice)
}

// TestTooOftenThroughTheBroker has a program of alice's connect for each request, as often as it can, from several threads: what the broker
// does not pass on is told so at once. The agent could not fetch it, which nobody said, and it waited for ten seconds.
func TestTooOftenThroughTheBroker(t *testing.T) {
	h, alice, _ := newTLS(t, "")
	_, hers := h.logon(alice)
	answers := make(chan string, 800)
	group := run.New(t.Context())
	for range 8 {
		group.Go("ask", func(context.Context) error {
			for range cap(answers) / 8 {
				a := h.ask(alice, "tcp", hers.Listen[0], "GET /info HTTP/1.1\r\nHost: "+hers.Listen[0]+"\r\n\r\n")
				answers <- fmt.Sprint(a.Status, " ", a.reason())
			}
			return nil
		})
	}
	group.Wait()
	counts := map[string]int{}
	for range len(answers) {
		counts[<-answers]++
	}
	if counts["200 "] < 200 || counts["200 "]+counts["429 rate_limited rate"] != cap(answers) {
		t.Errorf("she is answered %v", counts)
	}
}

// TestRefusalsCanBeRead has web pages read why they are refused, on every port of the broker's.
func TestRefusalsCanBeRead(t *testing.T) {
	h, alice, bob := newTLS(t, "")
	_, hers := h.logon(alice)
	const page = "https://app.example"
	for _, test := range []struct{ to, host, want string }{
		{hers.Listen[0], "", "caller_refused other_user"},
		{h.ready.Fixed[0], "", "no_agent no_agent"},
		{h.ready.Listen[0], "", "no_agent no_agent"},
		{hers.Listen[0], "rebind.example", "origin_denied host_header"},
		{h.ready.Fixed[0], "rebind.example", "origin_denied host_header"},
	} {
		name := test.to
		if test.host != "" {
			name = test.host + test.to[strings.LastIndex(test.to, ":"):]
		}
		for scheme, conn := range h.ways(bob, test.to) {
			a := get(t, conn, name, "/cb/v1/agent", "Origin: "+page)
			if a.reason() != test.want || a.Header.Get("Access-Control-Allow-Origin") != page {
				t.Errorf("bob's page on %s://%s: %d %s %v, want %q, readable by the page", scheme, name, a.Status, a.Body, a.Header, test.want)
			}
		}
		if test.host != "" {
			continue
		}
		conn := h.secure(bob, test.to)
		a, err := exchange(conn, "OPTIONS /cb/v1/agent HTTP/1.1\r\nHost: "+test.to+"\r\nOrigin: "+page+"\r\nAccess-Control-Request-Method: POST\r\n\r\n")
		if err != nil || a.Status != http.StatusNoContent {
			t.Errorf("preflight to %s: %d %v, want 204: the page is to see the refusal", test.to, a.Status, err)
		}
	}
}

// TestEventsThroughTheBroker subscribes by a WebSocket and by server-sent events, over TLS, and sees the sandbox die.
func TestEventsThroughTheBroker(t *testing.T) {
	h, alice, _ := newTLS(t, ", plain: deny")
	_, line := h.logon(alice)
	conn := h.secure(alice, line.Listen[0])
	fmt.Fprintf(conn, "GET /cb/v1/events HTTP/1.1\r\nHost: %s\r\n\r\n", line.Listen[0])
	in := bufio.NewScanner(conn)
	sse := func() (event api.ReaderEvent) {
		t.Helper()
		for in.Scan() {
			if event, ok := sseLine(in.Text()); ok {
				return event
			}
		}
		t.Fatalf("no further event: %v", in.Err())
		return event
	}
	subscribers := map[string]func() api.ReaderEvent{
		"server-sent events": sse,
		"WebSocket": h.follow(h.Command(alice, "cardbroker", "agent", "readers", "--watch", "--json", "--socket", h.socket,
			"--state", alice.Home+"/state"), jsonLine),
	}
	for _, next := range subscribers {
		wantEvents(t, next, "reader_added", "card_in")
	}
	sandbox, err := stage.ChildOf(line.PID)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(sandbox, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for _, next := range subscribers {
		wantEvents(t, next, "reader_removed", "reader_added", "card_in")
	}
	plain := h.mustDial(alice, "tcp", line.Listen[0])
	if a, err := exchange(plain, "GET /info HTTP/1.1\r\nHost: "+line.Listen[0]+"\r\n\r\n"); err == nil && a.Status == 200 {
		t.Errorf("without TLS: %d %s, though it is denied", a.Status, a.Body)
	}
}
