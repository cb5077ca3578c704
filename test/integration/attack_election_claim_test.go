// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/test/stage"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

// assert opens a link to whoever is elected, as p, and says a first word. The answer is Registered or Failed.
func (e *electing) assert(p *stage.Person, claim api.Claim, port cardbroker.Port, ipv6 bool) (*socket.Conn, api.FromBroker) {
	e.t.Helper()
	conn, response, err := socket.NewMaker(api.LinkProtocol).Dial(e.Context(), socket.Dial{
		URL: "ws://" + e.at + "/local/v1/link",
		Net: func(context.Context) (net.Conn, error) { return e.dial(p, "tcp4", "", e.at) },
	})
	if response != nil {
		err = api.ReadError(response)
	}
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { conn.Close() })
	if err := conn.WriteJSON(api.FromAgent{Register: &api.Register{Claim: claim, IPv6: ipv6, Port: port}}); err != nil {
		e.t.Fatal(err)
	}
	answer, err := hear(conn)
	if err != nil {
		e.t.Fatal(err)
	}
	return conn, answer
}

// bound has p bind a free port of those that agents may have.
func (e *electing) bound(p *stage.Person, hosts ...string) cardbroker.Port {
	e.t.Helper()
	for port := cardbroker.Port(31000); port < 32000; port++ {
		free, err := httpserver.ListenLoopback(e.Context(), port)
		for _, l := range free {
			l.Close()
		}
		if err == nil {
			for _, host := range hosts {
				e.listenAs(p, fmt.Sprintf("%s:%d", host, port))
			}
			return port
		}
	}
	e.t.Fatal("no port is free")
	return 0
}

// agents are what whoever is elected tells p of his agents, by session.
func (e *electing) agents(p *stage.Person) map[cardbroker.SessionID]api.Session {
	e.t.Helper()
	var list api.Sessions
	got := e.ask(p, "tcp4", e.at, request("GET", e.at, "/local/v1/agents", ""))
	if err := json.Unmarshal(got.Body, &list); err != nil || got.Status != 200 {
		e.t.Fatalf("the agents of %s are %d %s", p.Name, got.Status, got.Body)
	}
	found := make(map[cardbroker.SessionID]api.Session)
	for _, s := range list.Sessions {
		found[s.Session] = s
	}
	return found
}

// TestForeignAssertions has bob assert ports and sessions of alice's to the registry that they share, with her own claim, and give them
// back for her. Nothing of hers changes, and no page of hers is sent to a port of his.
func TestForeignAssertions(t *testing.T) {
	e, alice, bob := newElecting(t, anyUser)
	line := e.stand(alice, "s1", "--software-card").ready()
	both := []string{"127.0.0.1", "[::1]"}
	claim, hers := newClaim("p"), e.bound(alice, both...)
	link, answer := e.assert(alice, claim, hers, true)
	if answer.Registered == nil || answer.Registered.Port != hers {
		t.Fatalf("alice's assertion is answered %+v", answer)
	}
	half, his, other := e.bound(alice, "[::1]"), e.bound(bob, both...), e.bound(alice, both...)
	e.listenAs(bob, fmt.Sprintf("127.0.0.1:%d", half))
	before := e.agents(alice)
	for _, attack := range []struct {
		name  string
		by    *stage.Person
		claim api.Claim
		port  cardbroker.Port
		ipv6  bool
		want  string // reason and rule
	}{
		{"the port of her agent", bob, newClaim("x"), cardbroker.Port(line.Port), true, "caller_refused listener_foreign"},
		{"her port, with her claim", bob, claim, hers, true, "caller_refused listener_foreign"},
		{"a port that nobody has", bob, newClaim("x"), e.bound(bob), true, "caller_refused listener_missing"},
		{"a port of which she has the other half", bob, newClaim("x"), half, false, "caller_refused listener_foreign"},
		{"the registry's port", bob, newClaim("x"), e.port, true, "caller_refused listener_foreign"},
		{"the registry's port, by its own user", alice, newClaim("x"), e.port, true, "conflict"},
		{"a port of no agent", bob, newClaim("x"), 0, true, "invalid"},
		{"her session, by herself with another claim", alice, newClaim("p"), other, true, "conflict"},
		{"no claim", bob, api.Claim{Session: "x", Claim: "short"}, his, true, "invalid"},
	} {
		_, answer := e.assert(attack.by, attack.claim, attack.port, attack.ipv6)
		if answer.Failed == nil || !strings.HasPrefix(strings.TrimSpace(string(answer.Failed.Reason)+" "+string(answer.Failed.Rule)), attack.want) {
			t.Errorf("%s: answered %+v %+v, want %s", attack.name, answer, answer.Failed, attack.want)
		}
	}
	if _, answer := e.assert(bob, claim, his, true); answer.Registered == nil { // a session of his own that has the same name
		t.Errorf("bob's own session is answered %+v", answer)
	}
	body, _ := json.Marshal(claim)
	e.ask(bob, "tcp4", e.at, request("POST", e.at, "/local/v1/release", string(body), "Content-Type: application/json"))
	same := func(after map[cardbroker.SessionID]api.Session) bool {
		for session, was := range before {
			if is := after[session]; is.Port != was.Port || is.State != was.State || is.Since != was.Since {
				return false
			}
		}
		return len(after) == len(before)
	}
	if after := e.agents(alice); !same(after) {
		t.Errorf("alice's agents were %+v, are %+v", before, after)
	}
	link.Close()
	e.until("alice's session gone", func() bool { return e.agents(alice)["p"].State != cardbroker.Registered })
	var own api.OwnAgent
	got := e.ask(alice, "tcp4", e.at, request("GET", e.at, "/cb/v1/agent", ""))
	if err := json.Unmarshal(got.Body, &own); err == nil && got.Status == 200 && own.Port != cardbroker.Port(line.Port) {
		t.Errorf("alice is sent to port %d, and her agent is at %d", own.Port, line.Port)
	}
}

// TestForeignResignation has a stranger and pages, those of root too, ask the elected registry to leave, and pages open links: only a program
// of who may run a service gets that.
func TestForeignResignation(t *testing.T) {
	e, alice, bob := newElecting(t, anyUser)
	e.stand(alice, "s1", "--software-card").ready()
	epoch := func() string {
		return e.ask(alice, "tcp4", e.at, request("GET", e.at, "/info", "")).Header.Get(api.EpochHeader)
	}
	term := epoch()
	if got := e.ask(bob, "tcp4", e.at, request("POST", e.at, "/local/v1/resign", "")); got.Status != 403 || got.reason() != "caller_refused not_admin" {
		t.Errorf("bob's wish is answered %d %s", got.Status, got.Body)
	}
	root := &stage.Person{Name: "root", Cred: &syscall.Credential{}}
	for _, p := range []*stage.Person{alice, bob, root} {
		for _, header := range []string{"Origin: https://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Referer: https://evil.example/"} {
			for _, r := range [][]string{
				{"POST", "/local/v1/resign"}, {"POST", "/local/v1/release"}, {"GET", "/local/v1/agents"}, {"GET", "/local/v1/link"},
			} {
				headers := []string{header}
				if r[1] == "/local/v1/link" {
					headers = append(headers, upgradeTo(api.LinkProtocol)...)
				}
				if got := e.ask(p, "tcp4", e.at, request(r[0], e.at, r[1], "", headers...)); got.Status != 403 || !strings.HasPrefix(got.reason(), "origin_denied") {
					t.Errorf("%s of %s's page (%s) is answered %d %s", r, p.Name, header, got.Status, got.Body)
				}
			}
		}
	}
	for _, name := range []string{"evil.example", "localhost"} { // a name that leads here
		host := fmt.Sprintf("%s:%d", name, e.port)
		if got := e.ask(root, "tcp4", e.at, request("POST", host, "/local/v1/resign", "")); got.Status != 403 || !strings.HasPrefix(got.reason(), "origin_denied") {
			t.Errorf("resign under the name %s is answered %d %s", name, got.Status, got.Body)
		}
	}
	if now := epoch(); now != term || now == "" {
		t.Errorf("the term was %q and is %q", term, now)
	}
	if got := e.ask(root, "tcp4", e.at, request("POST", e.at, "/local/v1/resign", "")); got.Status != 200 {
		t.Errorf("root's wish is answered %d %s", got.Status, got.Body)
	}
	e.until("another term", func() bool {
		conn, err := e.dial(alice, "tcp4", "", e.at)
		if err != nil {
			return false
		}
		defer conn.Close()
		got, err := exchange(conn, request("GET", e.at, "/info", ""))
		return err == nil && got.Status == 200 && got.Header.Get(api.EpochHeader) > term
	})
}
