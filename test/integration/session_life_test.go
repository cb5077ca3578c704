// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"os/exec"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/test/loginbed"
	"github.com/cardbroker/cardbroker/test/stage"
)

// TestSessionLife leads alice's agent through her session, as a real logind tells it: she locks the screen, bob sits down at
// the seat while a back end holds her reader, she comes back, she logs off.
func TestSessionLife(t *testing.T) {
	bed := loginbed.New(t)
	h, alice, bob := newAttack(t)
	h.start()
	leader := exec.Command("sleep", "1000")
	if err := leader.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { leader.Process.Kill(); leader.Wait() })
	hers := bed.Login(int(alice.Cred.Uid), leader.Process.Pid, "seat0")
	his := bed.Login(int(bob.Cred.Uid), h.ready.PID, "seat0")
	hers.Call("ActivateSession")
	alice.Env = []string{"DBUS_SYSTEM_BUS_ADDRESS=" + bed.Address}
	alice.Cgroup = h.scope(alice, hers.ID)
	agent, line := h.logon(alice)
	t.Cleanup(func() { agent.Stop() })
	if line.Session != hers.ID {
		t.Fatalf("the agent is in session %q, want %s", line.Session, hers.ID)
	}
	is := func(presence string) {
		t.Helper()
		h.await("alice "+presence, func(s api.Session) bool {
			return *s.UID == alice.Cred.Uid && s.Presence == presence && s.Kind == "logind"
		})
	}
	is("present")
	port, before := line.Port, h.leases(alice)
	tunnel := h.tunnel(alice)
	offered := h.offer(alice)

	hers.SetLockedHint(true)
	is("locked")
	if sw := h.transmit(tunnel, "00A404000BA000000308000010000100"); sw[:2] != "61" {
		t.Errorf("behind a locked screen a lease's command is answered %s", sw)
	}
	hers.SetLockedHint(false)
	is("present")

	his.Call("ActivateSession")
	is("away")
	switch sw := h.transmit(tunnel, "00A404000BA000000308000010000100"); cardbroker.Reason(sw) {
	case cardbroker.Forbidden, cardbroker.Indeterminate: // a back end that had not read why the tunnel ends cannot tell
	default:
		t.Errorf("a command after she has left is answered %s, want forbidden", sw)
	}
	h.apdu(3, offered.Ticket, "00A40400")
	h.until("no lease", func() bool { return h.leases(alice) == before })
	var body api.ErrorBody
	h.run(alice, 3, &body, "agent", "offer", h.reader(alice), "issuer", "--socket", h.socket, "--state", alice.Home+"/state")
	if body.Reason != cardbroker.Forbidden {
		t.Errorf("an offer while she is away: %+v", body)
	}

	hers.Call("ActivateSession")
	is("present")
	h.apdu(3, offered.Ticket, "00A40400") // void, for good
	h.apdu(0, h.offer(alice).Ticket, "00A404000BA00000030800001000010000")
	if s := h.sessions(); len(s) != 1 || int(s[0].Port) != port {
		t.Errorf("the sessions are %+v, want one on port %d", s, port)
	}

	leader.Process.Kill()
	if status := agent.Wait(); status != 0 {
		t.Errorf("the agent ended with status %d, want 0", status)
	}
	if s := h.sessions(); len(s) != 0 {
		t.Errorf("after the logoff the broker still has %+v", s)
	}
}

// reader returns the id of the user's one reader.
func (h *host) reader(p *stage.Person) string {
	h.t.Helper()
	var list struct{ Readers []api.CardReader }
	h.run(p, 0, &list, "agent", "readers", "--socket", h.socket, "--state", p.Home+"/state")
	if len(list.Readers) != 1 {
		h.t.Fatalf("readers = %+v, want one", list.Readers)
	}
	return string(list.Readers[0].ID)
}

// leases returns how many leases the user's agent has.
func (h *host) leases(p *stage.Person) int {
	h.t.Helper()
	var answer api.Leases
	h.run(p, 0, &answer, "agent", "leases", "--socket", h.socket, "--state", p.Home+"/state")
	return len(answer.Leases)
}
