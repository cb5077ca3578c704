// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
)

// TestRevokeByAdmin has an administrator end a lease: the agent ends it, and both logs say who did.
func TestRevokeByAdmin(t *testing.T) {
	h, alice, bob := newAttack(t)
	h.start()
	_, line := h.logon(alice)
	tunnel := h.tunnel(alice)
	var leases api.Leases
	h.until("the lease in the list", func() bool {
		h.run(nil, 0, &leases, "host", "leases", "--socket", h.socket)
		return len(leases.Leases) == 1
	})
	lease := leases.Leases[0]
	if !strings.HasSuffix(lease.User, alice.Name) || string(lease.Session) != line.Session || lease.Tenant != "issuer" || lease.Reader == "" || lease.Since.IsZero() {
		t.Errorf("host leases says %+v, want alice's", lease)
	}
	h.run(bob, 3, nil, "host", "leases", "revoke", lease.Tunnel, "--socket", h.socket)
	h.run(nil, 2, nil, "host", "leases", "revoke", "no-such", "--socket", h.socket)
	h.run(nil, 4, nil, "host", "leases", "revoke", strings.Repeat("0", 32), "--socket", h.socket)
	if sw := h.transmit(tunnel, choosePIV); !strings.HasPrefix(sw, "61") {
		t.Errorf("SELECT is answered %s", sw)
	}
	var answer api.LeaseRevoked
	h.run(nil, 0, &answer, "host", "leases", "revoke", lease.Tunnel, "--socket", h.socket)
	if answer.Cut {
		t.Error("the broker has cut the tunnel, want the agent to end it")
	}
	if got := h.transmit(tunnel, choosePIV); got != string(cardbroker.Forbidden) {
		t.Errorf("after that SELECT is answered %s, want forbidden", got)
	}
	if err := tunnel.Err(); err == nil || !strings.Contains(err.Error(), "an administrator has ended the lease") {
		t.Errorf("the tunnel has ended with %v", err)
	}
	h.run(nil, 4, nil, "host", "leases", "revoke", lease.Tunnel, "--socket", h.socket)
}

// TestRevokeDisobeyed has an agent that does not end a lease, and says that it has another's: the broker cuts the tunnel of the
// one and leaves the other's alone.
func TestRevokeDisobeyed(t *testing.T) {
	h, alice, bob := newAttack(t)
	h.start()
	h.logon(alice)
	hers := h.tunnel(alice)
	his := h.puppet(bob, "1")
	ended := h.backEnd("issuer", his.Route, "-")
	open := his.opened(t)
	leg, err := h.bring(bob, open.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	says := api.Offers{Leases: []api.Lease{{Tunnel: open.ID, Tenant: "issuer", Reader: "his"}}}
	if err := his.WriteJSON(api.FromAgent{Offers: &says}); err != nil {
		t.Fatal(err)
	}
	h.until("the lease in the list", func() bool {
		var leases api.Leases
		h.run(nil, 0, &leases, "host", "leases", "--socket", h.socket)
		return len(leases.Leases) == 2
	})
	start := time.Now()
	var answer api.LeaseRevoked
	h.run(nil, 0, &answer, "host", "leases", "revoke", open.ID, "--socket", h.socket)
	if took := time.Since(start); !answer.Cut || took < time.Second || took > 5*time.Second {
		t.Errorf("the answer is %+v after %v, want the tunnel cut after a second", answer, took)
	}
	if message, err := hear(his.Conn); err != nil || message.Revoke == nil || message.Revoke.Tunnel != open.ID {
		t.Errorf("the agent was told %+v, %v, want revoke", message, err)
	}
	if _, err := leg.Next(); err == nil || !strings.Contains(err.Error(), "an administrator has ended the lease") {
		t.Errorf("the leg ended with %v", err)
	}
	if got := h.transmit(hers, choosePIV); !strings.HasPrefix(got, "61") {
		t.Errorf("alice's tunnel answers %s", got)
	}
}
