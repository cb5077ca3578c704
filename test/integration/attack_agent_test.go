// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
)

// request is one that a local program would send.
func request(method, host, path, body string, headers ...string) string {
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n%s\r\n%s", method, path, host, len(body),
		strings.Join(append(headers, ""), "\r\n"), body)
}

// TestForeignAgent has bob, and pages in alice's browser, ask alice's agent; a page may see /info and no more.
func TestForeignAgent(t *testing.T) {
	h, alice, bob := newAttack(t)
	h.start()
	_, line := h.logon(alice)
	at := fmt.Sprintf("127.0.0.1:%d", line.Port)
	offer := `{"reader":"0123456789abcdef","tenant":"rival"}`
	upgrade := []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="}
	for _, path := range []string{"/info", "/openapi.yaml", "/v3/readers", "/cb/v1/leases", "/cb/v1/events", "/", "/no/such", "*"} {
		for _, method := range []string{"GET", "POST", "OPTIONS"} {
			if got := h.ask(bob, "tcp4", at, request(method, at, path, "")); got.Status < 400 && method != "OPTIONS" {
				t.Errorf("bob's %s %s is answered %d %s", method, path, got.Status, got.Body)
			}
		}
	}
	for _, test := range []struct{ name, request, want string }{
		{"another name", request("GET", "rebind.test:"+at[10:], "/v3/readers", ""), "origin_denied host_header"},
		{"another port", request("GET", "127.0.0.1:1", "/v3/readers", ""), "origin_denied host_header"},
		{"the name in the target", request("GET", at, "http://rebind.test/v3/readers", ""), "origin_denied host_header"},
		{"a page", request("GET", at, "/v3/readers", "", "Origin: https://evil.example"), "consent_required origin_unconsented"},
		{"a page of ours", request("GET", at, "/v3/readers", "", "Origin: http://"+at), "consent_required origin_unconsented"},
		{"a page's form", request("POST", at, "/cb/v1/offers", offer, "Origin: https://evil.example", "Content-Type: text/plain"),
			"consent_required origin_unconsented"},
		{"a sandboxed frame", request("POST", at, "/cb/v1/offers", offer, "Origin: null"), "origin_denied origin_null"},
		{"a page without origin", request("POST", at, "/cb/v1/offers", offer, "Sec-Fetch-Site: cross-site"), "origin_denied fetch_without_origin"},
		{"a page's WebSocket", request("GET", at, "/cb/v1/events", "", append(upgrade, "Origin: https://evil.example")...),
			"consent_required origin_unconsented"},
		{"/info", request("GET", at, "/info", "", "Origin: https://evil.example"), ""},
		{"two lengths", request("POST", at, "/cb/v1/offers", offer, "Content-Length: 1"), ""},
		{"a length and chunks", request("POST", at, "/cb/v1/offers", "0\r\n\r\n", "Transfer-Encoding: chunked"), "invalid"},
	} {
		if got := h.ask(alice, "tcp4", at, test.request); got.reason() != test.want {
			t.Errorf("%s is answered %d %s, want %q", test.name, got.Status, got.Body, test.want)
		}
	}
}

// TestStolenPort has bob's request wait at alice's agent, and alice come from the very port that bob has left: a look-up of
// that port names her. The agent stands still meanwhile, as a busy one does.
func TestStolenPort(t *testing.T) {
	h, alice, bob := newAttack(t)
	h.start()
	_, line := h.logon(alice)
	h.offer(alice) // so that the agent knows its reader
	at := fmt.Sprintf("127.0.0.1:%d", line.Port)
	readers := h.ask(alice, "tcp4", at, request("GET", at, "/v3/readers", ""))
	_, id, _ := strings.Cut(string(readers.Body), `"id":"`)
	offer := fmt.Sprintf(`{"reader":%q,"tenant":"rival"}`, id[:16])

	syscall.Kill(line.PID, syscall.SIGSTOP)
	from := fmt.Sprintf("127.0.0.1:%d", h.freePort())
	conn, err := h.dial(bob, "tcp4", from, at)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, request("POST", at, "/cb/v1/offers", offer))
	conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
	hers, err := h.dial(alice, "tcp4", from, at)
	syscall.Kill(line.PID, syscall.SIGCONT)
	if err != nil {
		t.Fatal(err)
	}
	defer hers.Close()
	if got, err := exchange(hers, request("GET", at, "/info", "")); err != nil || got.Status != 200 {
		t.Errorf("alice is answered %d %s, %v", got.Status, got.Body, err)
	}
	var list api.RemoteReaders
	h.run(nil, 0, &list, "reader", "list", "--broker", h.ready.Backend, "--ca", h.Path("door.pem"), "--token-file", h.Path("rival.token"))
	if len(list.Readers) != 0 {
		t.Errorf("bob has offered alice's reader: %+v", list)
	}
	var e api.Explanation
	h.until("bob's refusal", func() bool {
		h.run(nil, 0, &e, "host", "explain", from, "--to", at, "--socket", h.socket)
		return !e.Allowed && e.Rule == cardbroker.RuleSocketGone || e.Allowed
	})
}

// TestCrowd has bob open many more connections than he may, everywhere, and ask as fast as he can: alice is served, and the
// files are given back.
func TestCrowd(t *testing.T) {
	h, alice, bob := newAttack(t)
	h.start()
	_, line := h.logon(alice)
	well, at := h.ready.Listen[0], fmt.Sprintf("127.0.0.1:%d", line.Port)
	broker, agent := descriptors(t, h.ready.PID), descriptors(t, line.PID)
	targets := []struct{ network, to, request string }{
		{"tcp4", well, request("GET", well, "/cb/v1/agent", "")},
		{"tcp4", at, request("GET", at, "/info", "")},
		{"unix", h.socket, request("GET", "cardbroker", "/local/v1/agents", "")},
	}
	var conns []net.Conn
	h.as(bob, func() {
		for i := range 300 * len(targets) {
			target := targets[i%len(targets)]
			conn, err := net.Dial(target.network, target.to)
			if err != nil {
				continue
			}
			if i%2 == 0 {
				io.WriteString(conn, strings.Repeat(target.request, 10)) // not to be read
			}
			conns = append(conns, conn)
		}
	})
	for _, target := range targets {
		if worst := h.slowest(alice, 30, target.network, target.to, target.request); worst > starved {
			t.Errorf("alice waits %v at %s", worst, target.to)
		}
	}
	if n := descriptors(t, h.ready.PID); n > broker+2*(64+16)+8 {
		t.Errorf("the broker has %d files more open", n-broker)
	}
	for _, conn := range conns {
		conn.Close()
	}
	h.settle(h.ready.PID, broker)
	h.settle(line.PID, agent)
}

// TestGuardedPortIsNotFilled has bob come to a port that the broker holds for an agent that is gone, thousands of times, and
// say nothing: the broker kept all of these connections open at once.
func TestGuardedPortIsNotFilled(t *testing.T) {
	h, alice, bob := newAttack(t)
	h.start()
	agent, line := h.logon(alice)
	agent.Kill()
	h.await("the agent stale", func(s api.Session) bool { return s.State == cardbroker.Stale })
	before, at := descriptors(t, h.ready.PID), fmt.Sprintf("127.0.0.1:%d", line.Port)
	guarded := func() bool {
		conn, err := h.dial(bob, "tcp4", "", at)
		if err != nil {
			return false
		}
		defer conn.Close()
		got, err := exchange(conn, request("GET", at, "/info", ""))
		return err == nil && got.reason() == string(cardbroker.AgentRestarting)
	}
	h.until("the port guarded", guarded)
	var conns []net.Conn
	h.as(bob, func() {
		for range 1500 {
			if conn, err := net.Dial("tcp4", at); err == nil {
				conns = append(conns, conn)
			}
		}
	})
	well := h.ready.Listen[0]
	if worst := h.slowest(alice, 20, "tcp4", well, request("GET", well, "/info", "")); worst > starved {
		t.Errorf("alice waits %v", worst)
	}
	if n := descriptors(t, h.ready.PID); n > before+256+8 {
		t.Errorf("the broker has %d files more open", n-before)
	}
	for _, conn := range conns {
		conn.Close()
	}
	h.until("the port guarded again", guarded)
	h.settle(h.ready.PID, before+2)
}
