// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package elected

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/httpserver"
)

// everything is every route of a leader, and one that is none.
func (b *bed) everything() []httpserver.Route {
	return append(append(b.core.LoopbackRoutes(), b.localRoutes()...), httpserver.Route{Method: "GET", Path: "/nowhere", Access: httpserver.Public})
}

// TestScope has another user's programs and pages ask for everything: they are told why not, and the pages may read it.
func TestScope(t *testing.T) {
	b := lead(t, nil)
	b.agent(alice, "1", nil)
	for _, user := range []cardbroker.UserID{bob, root} {
		for _, route := range b.everything() {
			if route.Access == httpserver.Service {
				continue // TestStrangersDoNotEndTheTerm
			}
			a := b.ask(user, route.Method, route.Path, nil)
			if a.Status != 403 || a.Said.Reason != cardbroker.CallerRefused || a.Said.Rule != cardbroker.RuleScopeSameUser || a.Header.Get(api.EpochHeader) == "" {
				t.Errorf("user %s, %s %s: %d %s", user, route.Method, route.Path, a.Status, a.Body)
			}
			if route.Access != httpserver.Public {
				continue
			}
			a = b.ask(user, route.Method, route.Path, nil, "Origin: https://page.example", "X-CSRF-Token: 1", "Sec-Fetch-Site: cross-site")
			if a.Said.Rule != cardbroker.RuleScopeSameUser || a.Header.Get("Access-Control-Allow-Origin") != "https://page.example" {
				t.Errorf("user %s's page, %s %s: %d %s", user, route.Method, route.Path, a.Status, a.Body)
			}
		}
	}
}

// TestPages has pages of the leader's own user, and what looks like one, ask for what agents ask.
func TestPages(t *testing.T) {
	b := lead(t, nil)
	hers := b.agent(alice, "1", nil)
	localhost := fmt.Sprintf("localhost:%d", b.port)
	for _, as := range [][]string{
		{"Origin: https://page.example", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: websocket", "Sec-Fetch-Dest: websocket"}, // as Chromium opens a WebSocket
		{"Origin: https://page.example", "X-CSRF-Token: 1"},
		{"Origin: null"},
		{"Origin: "},
		{"Origin: http://" + b.address(), "X-CSRF-Token: 1"},
		{"Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Sec-Fetch-User: ?1"}, // an address that was typed
		{"Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: no-cors"},
		{"Referer: https://page.example/"},
		{"Host: " + localhost},
		{"Host: page.example"},
		{"Host: " + b.address()[:len("127.0.0.1")]},
		{"Host: [::1]:" + fmt.Sprint(b.port)},
	} {
		for _, user := range []cardbroker.UserID{alice, root} {
			for _, route := range b.localRoutes() {
				lines := append(as[:len(as):len(as)], "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
					"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Protocol: "+api.LinkProtocol)
				a := b.ask(user, route.Method, route.Path, hers.claim, lines...)
				if a.Said.Reason != cardbroker.OriginDenied || a.Said.Rule != cardbroker.RuleOwnPage && a.Said.Rule != cardbroker.RuleHostHeader {
					t.Errorf("user %s, %s %s with %q: %d %s", user, route.Method, route.Path, as, a.Status, a.Body)
				}
			}
		}
	}
	select {
	case why := <-b.resigned:
		t.Errorf("the leader resigned: %s", why)
	default:
	}
	if a := b.ask(alice, "GET", "/cb/v1/agent", nil); a.Status != 200 {
		t.Errorf("alice's agent is gone: %s", a.Body)
	}
}

// TestStrangersDoNotEndTheTerm: not even its own user, who is no service.
func TestStrangersDoNotEndTheTerm(t *testing.T) {
	b := lead(t, func(c *Config) { c.AnyUser = true })
	for _, user := range []cardbroker.UserID{alice, bob} {
		if a := b.ask(user, "POST", "/local/v1/resign", nil); a.Status != 403 || a.Said.Rule != cardbroker.RuleNotAdmin {
			t.Errorf("user %s: %d %s", user, a.Status, a.Body)
		}
	}
	select {
	case why := <-b.resigned:
		t.Errorf("the leader resigned: %s", why)
	default:
	}
}

// TestFalseAssertions has bob assert what is not his, and everybody what cannot be.
func TestFalseAssertions(t *testing.T) {
	b := lead(t, func(c *Config) {
		c.AnyUser = true
		c.Registry.Ports, _ = cardbroker.ParsePorts("2000-65535")
	})
	hers, his := b.agent(alice, "1", nil), bind(t, bob)
	ipv6 := len(his) > 1
	half := bind(t, bob)
	half[len(half)-1].Close() // nobody listens on [::1]; without IPv6, on nothing
	for name, attack := range map[string]struct {
		user     cardbroker.UserID
		register api.Register
		want     string // reason and rule
	}{
		"her port":                     {bob, api.Register{Claim: claimOf("1"), Port: hers.Port, IPv6: ipv6}, "caller_refused listener_foreign"},
		"her port and claim":           {bob, api.Register{Claim: hers.claim, Port: hers.Port, IPv6: ipv6}, "caller_refused listener_foreign"},
		"the leader's port":            {bob, api.Register{Claim: claimOf("1"), Port: b.port, IPv6: ipv6}, "caller_refused listener_foreign"},
		"a port that nobody has":       {bob, api.Register{Claim: claimOf("1"), Port: 2001, IPv6: ipv6}, "caller_refused listener_missing"},
		"half a port":                  {bob, api.Register{Claim: claimOf("1"), Port: portOf(half[0]), IPv6: true}, "caller_refused listener_missing"},
		"no port":                      {bob, api.Register{Claim: claimOf("1"), IPv6: ipv6}, "invalid"},
		"no claim":                     {bob, api.Register{Claim: api.Claim{Session: "1"}, Port: portOf(his[0]), IPv6: ipv6}, "invalid"},
		"a port of her other agent":    {alice, api.Register{Claim: claimOf("2"), Port: hers.Port, IPv6: ipv6}, "conflict port_taken"},
		"her session once more":        {alice, api.Register{Claim: claimOf("1"), Port: hers.Port, IPv6: ipv6}, "conflict"},
		"what only root may listen on": {bob, api.Register{Claim: claimOf("1"), Port: 80, IPv6: ipv6}, "caller_refused listener_missing"},
	} {
		_, said := b.register(attack.user, attack.register)
		if said.Failed == nil || reasonOf(*said.Failed) != attack.want {
			t.Errorf("%s: %+v, want %q", name, said, attack.want)
		}
	}
	// With her claim and session, but his own port, he is himself.
	if _, said := b.register(bob, api.Register{Claim: hers.claim, Port: portOf(his[0]), IPv6: ipv6}); said.Registered == nil {
		t.Errorf("bob's own port with alice's claim: %+v", said)
	}
	var own api.OwnAgent
	if a := b.ask(alice, "GET", "/cb/v1/agent", nil); json.Unmarshal(a.Body, &own) != nil || own.Port != hers.Port {
		t.Errorf("alice's agent: %s, want port %d", a.Body, hers.Port)
	}
	if a := b.ask(bob, "POST", "/local/v1/release", hers.claim); a.Status != 200 { // his own session of that name, whose claim it is
		t.Errorf("bob's release: %d %s", a.Status, a.Body)
	}
	if a := b.ask(alice, "GET", "/cb/v1/agent", nil); a.Status != 200 {
		t.Errorf("alice's agent is gone: %s", a.Body)
	}
}

func reasonOf(said api.ErrorBody) string {
	text := string(said.Reason)
	if said.Rule != "" {
		text += " " + string(said.Rule)
	}
	return text
}

// TestQuota has one user take all that he can get: agents, and connections.
func TestQuota(t *testing.T) {
	b := lead(t, func(c *Config) { c.AnyUser = true })
	for i := range 17 {
		listeners := bind(t, bob)
		_, said := b.register(bob, api.Register{Claim: claimOf(cardbroker.SessionID(fmt.Sprint("s", i))), Port: portOf(listeners[0]), IPv6: len(listeners) > 1})
		if i < 16 && said.Registered == nil || i == 16 && (said.Failed == nil || said.Failed.Rule != cardbroker.RuleQuota) {
			t.Errorf("bob's agent %d: %+v", i+1, said)
		}
	}
	for range 64 {
		conn, err := b.dial(bob)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	conn, err := b.dial(bob)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if text, err := io.ReadAll(conn); err != nil || !strings.Contains(string(text), string(cardbroker.RuleConnectionLimit)) {
		t.Errorf("bob's connection too many is told %q, %v", text, err)
	}
	b.agent(alice, "1", nil)
}

// fill has users, from bob on, take all connections that each of them may have.
func (b *bed) fill(users int) {
	b.t.Helper()
	for n := range users {
		var last net.Conn
		for range 64 {
			conn, err := b.dial(cardbroker.UserID{UID: bob.UID + uint32(n)})
			if err != nil {
				b.t.Fatal(err)
			}
			b.t.Cleanup(func() { conn.Close() })
			last = conn
			io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: "+b.address()+"\r\n\r\n") // a silent one ends after five seconds
		}
		if _, err := http.ReadResponse(bufio.NewReader(last), nil); err != nil { // whoever came before has been accepted
			b.t.Fatal(err)
		}
	}
}

// TestRoomForAThousand: where a host's users share a registry, that has room for the links of a thousand agents and for their pages. There
// was room for 1,024 connections, and the links of agents that came later were refused for as long as pages had them.
func TestRoomForAThousand(t *testing.T) {
	b := lead(t, func(c *Config) { c.AnyUser = true })
	b.fill(40)
	b.agent(cardbroker.UserID{UID: bob.UID + 40}, "1", nil)
}

// TestConnectionsOfAll has many users, whom one person may have at his disposal (subuid(5)), take all connections that they can get.
// The leader's own agents and pages find room all the same, and so does he when he asks himself whether he works: else he would leave
// office, and the port to them.
func TestConnectionsOfAll(t *testing.T) {
	for anyUser, most := range map[bool]int{false: 1024, true: 4096} {
		b := lead(t, func(c *Config) { c.AnyUser = anyUser })
		b.fill(most / 64)
		conn, err := b.dial(bob)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(conn)
		conn.Close()
		if full := err == nil && strings.Contains(string(text), fmt.Sprintf("more than %d connections", most)); !full {
			t.Error("there is room for more, the test proves nothing")
		}
		b.agent(alice, "1", nil)
		if a := b.ask(alice, "GET", "/healthz", nil); a.Status != 200 {
			t.Errorf("the leader asks himself: %d %s", a.Status, a.Body)
		}
	}
}
