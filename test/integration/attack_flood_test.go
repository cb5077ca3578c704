// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/test/stage"
)

// flooders is how many of the attacker's threads are at it at a time.
const flooders = 4

// floods are what one user tries to starve the others with, on an address until ctx ends. Who floods is the caller's user.
var floods = []struct {
	name  string
	alice bool // a page in the victim's own browser does it
	flood func(ctx context.Context, at string)
}{
	{"connections, one after the other", false, func(ctx context.Context, at string) {
		held := make([]net.Conn, 64)
		for i := 0; ctx.Err() == nil; i++ {
			if conn, err := net.Dial("tcp4", at); err == nil {
				if old := held[i%len(held)]; old != nil {
					old.Close()
				}
				held[i%len(held)] = conn
			}
		}
		for _, conn := range held {
			if conn != nil {
				conn.Close()
			}
		}
	}},
	{"headers that do not end", false, func(ctx context.Context, at string) {
		for ctx.Err() == nil {
			exhaust(ctx, at, "GET /info HTTP/1.1\r\nHost: "+at+"\r\nX: ", strings.Repeat("x", 15<<10))
		}
	}},
	{"requests", false, func(ctx context.Context, at string) {
		for ctx.Err() == nil {
			exhaust(ctx, at, strings.Repeat(request("GET", at, "/info", ""), 200))
		}
	}},
	{"requests of a page", true, func(ctx context.Context, at string) {
		for ctx.Err() == nil {
			exhaust(ctx, at, strings.Repeat(request("GET", at, "/info", "", "Origin: https://evil.example"), 200))
		}
	}},
	{"long bodies", false, func(ctx context.Context, at string) {
		for ctx.Err() == nil {
			exhaust(ctx, at, request("POST", at, "/cb/v1/offers", strings.Repeat("x", 1<<20)))
		}
	}},
	{"event streams", false, func(ctx context.Context, at string) {
		for ctx.Err() == nil {
			exhaust(ctx, at, request("GET", at, "/cb/v1/events", ""))
		}
	}},
}

// exhaust sends parts on a connection and reads what comes, until the other side or ctx ends.
func exhaust(ctx context.Context, at string, parts ...string) {
	conn, err := net.Dial("tcp4", at)
	if err != nil {
		return
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	conn.SetDeadline(time.Now().Add(200 * time.Millisecond))
	for _, part := range parts {
		io.WriteString(conn, part)
	}
	io.Copy(io.Discard, conn)
}

// TestFlood has bob, or a page that alice looks at, flood broker and agent in each way; alice's programs are served all the
// same, each request in a bounded time. The figures stand beside those of the same host at rest.
func TestFlood(t *testing.T) {
	h, alice, bob := newAttack(t)
	h.start()
	_, line := h.logon(alice)
	targets := []string{h.ready.Listen[0], fmt.Sprintf("127.0.0.1:%d", line.Port)}
	idle := h.p99(alice, targets)
	limit := max(starved/2, 20*idle)
	for _, kind := range floods {
		by := bob
		if kind.alice {
			by = alice
		}
		ctx, stop := context.WithCancel(h.Context())
		var running sync.WaitGroup
		for i := range flooders {
			running.Go(func() { h.as(by, func() { kind.flood(ctx, targets[i%len(targets)]) }) })
		}
		worst := h.p99(alice, targets)
		stop()
		running.Wait()
		t.Logf("%-34s p99 %8v, at rest %v, limit %v", kind.name, worst, idle, limit)
		if worst > limit {
			t.Errorf("while there are %s alice waits %v, at rest %v", kind.name, worst, idle)
		}
	}
}

// p99 measures requests of p at the targets, 60 a second at each, on connections of their own; all must be served.
func (h *host) p99(p *stage.Person, targets []string) time.Duration {
	h.t.Helper()
	const n = 60
	var took []time.Duration
	tick := time.NewTicker(time.Second / n)
	defer tick.Stop()
	for range n {
		for _, at := range targets {
			took = append(took, h.slowest(p, 1, "tcp4", at, request("GET", at, "/info", "")))
		}
		<-tick.C
	}
	slices.Sort(took)
	return took[len(took)*99/100]
}

// TestLocalProgramsDenied: where policy wants no local programs, the user's own gets /info and nothing else.
func TestLocalProgramsDenied(t *testing.T) {
	h, alice, _ := newAttack(t)
	h.policy = h.Path("policy.d")
	if err := os.Mkdir(h.policy, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.policy, "http.yaml"), []byte("http: {local_programs: deny}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	h.start()
	_, line := h.logon(alice)
	at := fmt.Sprintf("127.0.0.1:%d", line.Port)
	for path, want := range map[string]string{"/info": "", "/v3/readers": "forbidden local_programs", "/cb/v1/events": "forbidden local_programs"} {
		if got := h.ask(alice, "tcp4", at, request("GET", at, path, "")); got.reason() != want {
			t.Errorf("GET %s of a program is answered %d %s, want %q", path, got.Status, got.Body, want)
		}
	}
	h.run(alice, 3, nil, "agent", "readers", "--socket", h.socket, "--state", alice.Home+"/state")
}

// TestRestartIsReadable: a page that asks an agent which is gone can read that it is: its preflight was answered with the error.
func TestRestartIsReadable(t *testing.T) {
	h, alice, _ := newAttack(t)
	h.start()
	agent, line := h.logon(alice)
	agent.Kill()
	at := fmt.Sprintf("127.0.0.1:%d", line.Port)
	ask := func(method string, headers ...string) (got answer, err error) {
		conn, err := h.dial(alice, "tcp4", "", at)
		if err != nil {
			return got, err
		}
		defer conn.Close()
		return exchange(conn, request(method, at, "/v3/readers", "", headers...))
	}
	h.until("the port guarded", func() bool {
		got, err := ask("GET")
		return err == nil && got.reason() == string(cardbroker.AgentRestarting)
	})
	const origin = "https://app.example"
	for method, status := range map[string]int{"GET": 503, "POST": 503, "OPTIONS": 204} {
		got, err := ask(method, "Origin: "+origin, "Access-Control-Request-Method: POST")
		if err != nil || got.Status != status || got.Header.Get("Access-Control-Allow-Origin") != origin || got.Header.Get("Vary") != "Origin" {
			t.Errorf("%s is answered %d %v, %v, want %d", method, got.Status, got.Header, err, status)
		}
	}
}
