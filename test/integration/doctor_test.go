// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"encoding/json"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/test/pcscbed"
	"github.com/cardbroker/cardbroker/test/stage"
)

// diagnose runs a user's doctor, and returns his exit status.
func (h *host) diagnose(p *stage.Person, args ...string) (d api.Diagnosis, status int) {
	h.t.Helper()
	args = append([]string{"agent", "doctor", "--json", "--socket", h.socket, "--state", p.Home + "/state"}, args...)
	out, err := h.Run(p, "cardbroker", args...)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := json.Unmarshal(out.Stdout, &d); err != nil {
		h.t.Fatalf("the doctor says %s%s: %v", out.Stdout, out.Stderr, err)
	}
	return d, out.Status
}

// finds fails unless a doctor says so, with a fix where something is wrong.
func (h *host) finds(d api.Diagnosis, id, status, text string) {
	h.t.Helper()
	for _, c := range d.Checks {
		if c.ID == id && c.Status == status && strings.Contains(c.Detail, text) && (c.Fix == "") == (status == "ok" || status == "unknown") {
			return
		}
	}
	h.t.Errorf("no check %s is %s with %q: %+v", id, status, text, d.Checks)
}

// TestDoctor follows a user from a host without a broker to a card that works.
func TestDoctor(t *testing.T) {
	h, alice, _ := newAttack(t)
	bed := h.newBed(alice, "bed")
	d, status := h.diagnose(alice, "--pcsc-socket", "/nowhere/pcscd.comm")
	if status != 4 || d.Mode != "none" {
		t.Errorf("without a broker: exit status %d, mode %s, want 4, none", status, d.Mode)
	}
	h.finds(d, "broker", "fail", "there is no broker at "+h.socket)
	h.finds(d, "agent", "fail", "no agent runs")
	h.finds(d, "pcsc", "fail", "is missing")

	h.start()
	host, port, err := net.SplitHostPort(h.ready.Listen[0])
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"--pcsc-socket", bed.Socket(), "--port", port}
	d, status = h.diagnose(alice, args...)
	if status != 4 || d.Mode != "service" {
		t.Errorf("without an agent: exit status %d, mode %s, want 4, service", status, d.Mode)
	}
	h.finds(d, "port", "ok", "the broker listens on port "+port)
	h.finds(d, "pcsc", "ok", "")

	h.enrol(alice, bed.Socket())
	d, status = h.diagnose(alice, args...)
	if status != 0 {
		t.Errorf("with empty readers: exit status %d, want 0: %+v", status, d)
	}
	h.finds(d, "agent", "ok", "is registered at port")
	h.finds(d, "loopback", "ok", "")
	h.finds(d, "reader", "ok", bed.Readers()[0])
	h.finds(d, "card", "warn", bed.Readers()[0]+" has no card")

	if err := bed.Insert(h.Context(), 0, pcscbed.Card{ATR: "3B04DEADBEEF"}); err != nil {
		t.Fatal(err)
	}
	h.until("an unknown card", func() bool { return len(h.cards(alice)) == 1 })
	d, _ = h.diagnose(alice, args...)
	h.finds(d, "card", "warn", "no module is for its ATR 3B04DEADBEEF")

	foreign := h.listenAs(alice, net.JoinHostPort(host, "0"))
	defer foreign.Close()
	_, theirs, _ := net.SplitHostPort(foreign.Addr().String())
	d, status = h.diagnose(alice, "--pcsc-socket", bed.Socket(), "--port", theirs)
	if status != 7 {
		t.Errorf("with another program on the port: exit status %d, want 7", status)
	}
	h.finds(d, "port", "fail", "another program is on the broker's port "+theirs)

	h.until("the device key", func() bool {
		d, _ = h.diagnose(alice, args...)
		for _, c := range d.Checks {
			if c.ID == "device_key" && c.Status == "ok" {
				return true
			}
		}
		return false
	})
	alice.Env = append(alice.Env, "http_proxy=http://proxy.example:3128")
	d, _ = h.diagnose(alice, args...)
	h.finds(d, "proxy", "warn", "http_proxy")

	var said struct {
		Port     int
		Presence string
		Readers  []api.CardReader
		Closed   *api.ErrorBody
		Modules  []struct{ Name string }
	}
	h.run(alice, 0, &said, "agent", "status", "--socket", h.socket, "--state", alice.Home+"/state")
	if len(said.Readers) != 2 || said.Closed != nil || said.Modules == nil || said.Presence == "" || strconv.Itoa(said.Port) == port {
		t.Errorf("the status is %+v", said)
	}
}
