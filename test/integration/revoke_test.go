// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/test/noticebed"
	"github.com/cardbroker/cardbroker/virtualreader"
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
	h.until("the tunnel's end", func() bool { return tunnel.Err() != nil })
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
	if took := time.Since(start); !answer.Cut || took < time.Second {
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

// TestRevokeByUser has alice end leases where she sees them: on her desktop, on her agent's page and by command. Other programs on
// her message bus, and pages that are not her agent's, end none.
func TestRevokeByUser(t *testing.T) {
	h, alice, _ := newAttack(t)
	desktop := noticebed.New(t, "actions", "body")
	alice.Env = []string{"DBUS_SESSION_BUS_ADDRESS=" + desktop.Address}
	h.start()
	_, line := h.logon(alice)
	at := fmt.Sprintf("127.0.0.1:%d", line.Port)
	wantOver := func(tunnel *virtualreader.Tunnel) {
		t.Helper()
		h.until("the tunnel's end", func() bool { return tunnel.Err() != nil })
		if got := h.transmit(tunnel, choosePIV); got != string(cardbroker.Forbidden) {
			t.Errorf("SELECT is answered %s, want forbidden", got)
		}
		if err := tunnel.Err(); err == nil || !strings.Contains(err.Error(), "the user has ended the lease") {
			t.Errorf("the tunnel has ended with %v", err)
		}
		if s := desktop.Next(); s.Summary != "Your card reader is free again" {
			t.Errorf("the desktop shows %+v", s)
		}
	}

	tunnel := h.tunnel(alice)
	s := desktop.Next()
	if !strings.HasPrefix(s.Body, "issuer, at 127.0.0.1:") || !strings.Contains(s.Body, "holds cardbroker Software Reader 00 00 since ") {
		t.Errorf("the desktop shows %+v", s)
	}
	desktop.Press(desktop.Join(), s.Number)
	if got := h.transmit(tunnel, choosePIV); !strings.HasPrefix(got, "61") {
		t.Errorf("after a press that was none SELECT is answered %s", got)
	}
	desktop.Press(nil, s.Number)
	wantOver(tunnel)

	tunnel = h.tunnel(alice)
	desktop.Next()
	var list api.Consents
	h.run(alice, 0, &list, "agent", "consent", "list", "--socket", h.socket, "--state", alice.Home+"/state")
	name := strings.TrimSuffix(strings.TrimPrefix(list.Page, "http://"), "/consent")
	var held api.Leases
	const csrf = "X-CSRF-Token: cardbroker"
	own, same := "Origin: http://"+name, "Sec-Fetch-Site: same-origin"
	a := h.ask(alice, "tcp4", at, request("GET", name, "/cb/v1/leases", "", same))
	if err := json.Unmarshal(a.Body, &held); err != nil || len(held.Leases) != 1 || held.Leases[0].Share != "shared" || held.Leases[0].Cut != nil {
		t.Fatalf("the page sees %d %s", a.Status, a.Body)
	}
	revoke := "/cb/v1/leases/" + held.Leases[0].Tunnel + "/revoke"
	for what, headers := range map[string][]string{
		"another page":          {"Origin: https://shop.example", csrf},
		"our page by its port":  {"Origin: http://" + at, csrf},
		"our page without CSRF": {own, same},
	} {
		if a := h.ask(alice, "tcp4", at, request("POST", name, revoke, "", headers...)); a.Status == 200 {
			t.Errorf("%s ends a lease: %s", what, a.Body)
		}
	}
	if a := h.ask(alice, "tcp4", at, request("POST", name, revoke, "", own, same, csrf)); a.Status != 200 {
		t.Errorf("our page: %d %s", a.Status, a.Body)
	}
	wantOver(tunnel)

	tunnel = h.tunnel(alice)
	desktop.Next()
	h.run(alice, 0, &held, "agent", "leases", "--socket", h.socket, "--state", alice.Home+"/state")
	h.run(alice, 0, nil, "agent", "leases", "revoke", held.Leases[0].Tunnel, "--socket", h.socket, "--state", alice.Home+"/state")
	wantOver(tunnel)
}
