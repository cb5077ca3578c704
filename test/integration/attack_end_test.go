// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

// TestAgentEndsWhileATunnelOpens ends an agent at each step of a tunnel: the back end hears of it at once, and nothing is
// left. It waited ten seconds for an agent whose link had ended.
func TestAgentEndsWhileATunnelOpens(t *testing.T) {
	h, alice, _ := newAttack(t)
	h.start()
	for name, end := range map[string]func(puppet, string){
		"after the question": func(p puppet, _ string) { p.Close() },
		"with the leg": func(p puppet, id string) {
			if leg, err := h.bring(alice, id); err == nil {
				leg.Close()
			}
			p.Close()
		},
	} {
		p := h.puppet(alice, cardbroker.SessionID(name[:4]))
		before := descriptors(t, h.ready.PID)
		ended := h.backEnd("issuer", p.Route, "-")
		start := time.Now()
		end(p, p.opened(t).ID)
		if err := <-ended; cardbroker.ReasonOf(err) != cardbroker.Unavailable && err != nil {
			t.Errorf("%s: the back end is answered %v", name, err)
		}
		if took := time.Since(start); took > 8*time.Second {
			t.Errorf("%s: the back end waited %v for an agent that is gone", name, took)
		}
		h.settle(h.ready.PID, before)
	}
}

// TestStalledBackEnds come to the door and stop half-way: the broker lets them go, and stops when it is told to.
func TestStalledBackEnds(t *testing.T) {
	h, alice, _ := newAttack(t)
	h.start()
	p := h.puppet(alice, "1")
	before := descriptors(t, h.ready.PID)
	plain := h.mustDial(alice, "tcp4", h.door())
	half := h.mustDial(alice, "tcp4", h.door())
	io.WriteString(half, "\x16\x03\x01\x02\x00\x01") // of a ClientHello
	ended := h.backEnd("issuer", p.Route, "-")
	leg, err := h.bring(alice, p.opened(t).ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	for _, conn := range []net.Conn{plain, half} {
		conn.SetReadDeadline(time.Now().Add(limit / 2))
		if _, err := io.Copy(io.Discard, conn); err != nil {
			t.Errorf("a handshake that stalls was not ended: %v", err)
		}
	}
	leg.Close()
	h.settle(h.ready.PID, before+2) // and the client's own
}

// TestStopWithTunnels stops a broker that has 50 tunnels and one that opens: it ends in time, both sides hear that it does,
// and its registry is whole. They heard of an internal error.
func TestStopWithTunnels(t *testing.T) {
	h, alice, _ := newAttack(t)
	h.start()
	p := h.puppet(alice, "1")
	legs := make([]*socket.Conn, 50)
	for i := range legs {
		ended := h.backEnd("issuer", p.Route, "-")
		leg, err := h.bring(alice, p.opened(t).ID)
		if err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		legs[i] = leg
	}
	waiting := h.backEnd("issuer", p.Route, "-")
	p.opened(t) // and is never answered
	if err := h.broker.Stop(); err != nil {
		t.Errorf("the broker's stop: %v", err)
	}
	if err := <-waiting; err == nil {
		t.Error("a tunnel opened while the broker stopped")
	}
	for _, leg := range legs {
		if _, err := leg.Next(); cardbroker.ReasonOf(err) != cardbroker.Canceled { // not a regular end: the lease goes on
			t.Errorf("a leg ended with %v, want canceled", err)
		}
	}
	h.start()
	if s := h.sessions(); len(s) != 1 || s[0].State != cardbroker.Stale || s[0].Port != p.Port {
		t.Errorf("after a restart the sessions are %+v", s)
	}
	if _, answer := h.link(alice, p.claim, true); answer.Registered == nil {
		t.Errorf("the agent that comes back is answered %+v", answer)
	}
}

// TestTunnelsOfOneUser opens more tunnels to one user's sessions than he may have connections to the broker: what they are for is counted
// at the door. The legs beyond were refused, and nobody told the back end, which had lost its ticket by then.
func TestTunnelsOfOneUser(t *testing.T) {
	h, alice, _ := newAttack(t)
	h.start()
	p := h.puppet(alice, "1")
	for n := range 100 {
		ended := h.backEnd("issuer", p.Route, "-")
		if _, err := h.bring(alice, p.opened(t).ID); err != nil {
			t.Fatalf("leg %d: %v", n, err)
		}
		if err := <-ended; err != nil {
			t.Fatalf("tunnel %d: %v", n, err)
		}
	}
	if a := h.local(alice, "GET", "/local/v1/agents", nil); a.Status != 200 {
		t.Errorf("then her agent is answered %d %s", a.Status, a.Body)
	}
}

// TestNoLeg has alice's programs take all connections that she may have to the broker, so that her agent cannot bring its leg: the back end
// is told so at once, in a way that says to try again. It waited for ten seconds, and heard that nobody knew why.
func TestNoLeg(t *testing.T) {
	h, alice, _ := newAttack(t)
	h.start()
	h.logon(alice)
	ticket := h.offer(alice).Ticket
	for range 64 {
		h.mustDial(alice, "unix", h.socket)
	}
	if got := h.knock(tunnelRequest("-", h.token("issuer"), ticket)); !strings.HasPrefix(got, "503") || !strings.Contains(got, "cannot bring its end") {
		t.Errorf("the back end is answered %s", got)
	}
}

// TestFrozenAgent freezes alice's agent: a back end's wait ends, bob is served, and the agent goes on where it was.
func TestFrozenAgent(t *testing.T) {
	h, alice, bob := newAttack(t)
	h.start()
	_, line := h.logon(alice)
	h.logon(bob)
	offered := h.offer(alice)
	syscall.Kill(line.PID, syscall.SIGSTOP)
	h.apdu(0, h.offer(bob).Ticket, "80EE0000020102")
	own := request("GET", h.ready.Listen[0], "/cb/v1/agent", "")
	if worst := h.slowest(bob, 20, "tcp4", h.ready.Listen[0], own); worst > starved {
		t.Errorf("bob waits %v", worst)
	}
	syscall.Kill(line.PID, syscall.SIGCONT)
	h.apdu(0, offered.Ticket, "80EE0000020102")
	h.await("alice registered", func(s api.Session) bool { return s.State == cardbroker.Registered && int(s.Port) == line.Port })
}
