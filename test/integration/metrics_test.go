// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"fmt"
	"math"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/test/stage"
)

// metrics returns the values of an answer, by name and labels.
func (a answer) metrics(t *testing.T) map[string]float64 {
	t.Helper()
	values := map[string]float64{}
	for line := range strings.Lines(string(a.Body)) {
		at := strings.LastIndex(line, " ")
		if strings.HasPrefix(line, "#") || at < 0 {
			continue
		}
		value, err := strconv.ParseFloat(strings.TrimSpace(line[at:]), 64)
		if err != nil {
			t.Fatalf("a line of the metrics is %q", line)
		}
		values[line[:at]] = value
	}
	return values
}

func root() *stage.Person { return &stage.Person{Name: "root", Cred: &syscall.Credential{}} }

// scrape reads the metrics as an administrator does.
func (h *host) scrape() map[string]float64 {
	h.t.Helper()
	a := h.local(root(), "GET", "/metrics", nil)
	if a.Status != 200 {
		h.t.Fatalf("/metrics: %d %s", a.Status, a.Body)
	}
	return a.metrics(h.t)
}

// TestMetrics counts what passes through a tunnel of real programs: what the broker sees, and what the agent reports.
func TestMetrics(t *testing.T) {
	h, alice, _ := newAttack(t)
	h.start()
	h.logon(alice)
	h.apdu(0, h.offer(alice).Ticket, "80EE0000020102", "80EE0000020102", "80EF000A") // the last takes 10 ms
	ticket := h.offer(alice).Ticket
	h.apdu(3, ticket, "80EE0000020102", "0020008006313233343536")
	h.apdu(3, ticket, "80EE0000020102") // it is used up
	want := map[string]float64{
		`cardbroker_agents{state="REGISTERED"}`:                                      1,
		`cardbroker_links`:                                                           1,
		`cardbroker_tunnels{tenant="issuer"}`:                                        0,
		`cardbroker_tunnels_opened_total{tenant="issuer",kind="new"}`:                2,
		`cardbroker_tunnels_opened_total{tenant="issuer",kind="resumed"}`:            0,
		`cardbroker_tunnels_refused_total{tenant="issuer",reason="unauthenticated"}`: 1,
		`cardbroker_commands_total{tenant="issuer"}`:                                 4,
		`cardbroker_commands_refused_total{tenant="issuer",rule="firewall"}`:         1,
		`cardbroker_commands_indeterminate_total{tenant="issuer"}`:                   0,
		`cardbroker_command_card_seconds_count{tenant="issuer"}`:                     4,
		`cardbroker_command_queue_seconds_count{tenant="issuer"}`:                    4,
		`cardbroker_tunnel_network_seconds_count{tenant="issuer"}`:                   2, // at the end of each
		`cardbroker_events_total{event="broker_started"}`:                            1,
		`cardbroker_usage_ignored_total`:                                             0,
	}
	var got map[string]float64
	var wrong string
	defer func() { t.Log(wrong) }()
	h.until("the tunnels counted", func() bool {
		got, wrong = h.scrape(), ""
		for name, value := range want {
			if n, ok := got[name]; !ok || n != value {
				wrong += fmt.Sprintf("%s = %v, %v, want %v\n", name, n, ok, value)
			}
		}
		return wrong == ""
	})
	if card := got[`cardbroker_command_card_seconds_sum{tenant="issuer"}`]; card < 0.010 || card > 5 {
		t.Errorf("the card took %v s, want 10 ms and a little", card)
	}
	if network := got[`cardbroker_tunnel_network_seconds_sum{tenant="issuer"}`]; network <= 0 || network > 1 {
		t.Errorf("two round trips on loopback took %v s", network)
	}
	forth, back := got[`cardbroker_tunnel_bytes_total{tenant="issuer",direction="from_backend"}`], got[`cardbroker_tunnel_bytes_total{tenant="issuer",direction="to_backend"}`]
	if forth < 5*24 || back < 5*24 || forth > 10_000 || back > 10_000 {
		t.Errorf("%v bytes forth, %v back", forth, back)
	}
	for name := range got {
		if strings.Contains(name, alice.Name) || strings.Contains(name, fmt.Sprint(alice.Cred.Uid)) {
			t.Errorf("the metrics name a user: %s", name)
		}
	}
}

// TestScrapers: whom the configuration names reads the metrics over TCP, other users and pages do not.
func TestScrapers(t *testing.T) {
	h, alice, bob := newAttack(t)
	account, err := user.LookupId(fmt.Sprint(alice.Cred.Uid))
	if err != nil {
		t.Fatal(err)
	}
	h.config = "metrics: {listen: '127.0.0.1:0', users: [" + account.Username + "]}\n"
	h.start()
	for _, at := range h.ready.Metrics {
		network := "tcp4"
		if strings.HasPrefix(at, "[") {
			network = "tcp6"
		}
		for _, test := range []struct {
			name    string
			who     *stage.Person
			request string
			want    string // reason and rule; "": the metrics
		}{
			{"who is named", alice, request("GET", at, "/metrics", ""), ""},
			{"root", root(), request("GET", at, "/metrics", ""), ""},
			{"another user", bob, request("GET", at, "/metrics", ""), "caller_refused not_admin"},
			{"a page of who is named", alice, request("GET", at, "/metrics", "", "Origin: https://shop.example"), "consent_required origin_unconsented"},
			{"his browser", alice, request("GET", at, "/metrics", "", "Sec-Fetch-Site: none"), "origin_denied fetch_without_origin"},
			{"a name bound to 127.0.0.1", alice, request("GET", "evil.example", "/metrics", ""), "origin_denied host_header"},
			{"another route", alice, request("GET", at, "/local/v1/sessions", ""), "not_found"},
		} {
			if a := h.ask(test.who, network, at, test.request); a.reason() != test.want || test.want == "" && a.metrics(t)["cardbroker_links"] != 0 {
				t.Errorf("%s at %s: %d %.200s, want %q", test.name, at, a.Status, a.Body, test.want)
			}
		}
	}
	for _, p := range []*stage.Person{alice, bob} {
		if a := h.local(p, "GET", "/metrics", nil); a.reason() != "caller_refused not_admin" {
			t.Errorf("%s reads the metrics over the local socket: %d %.200s", p.Name, a.Status, a.Body)
		}
	}
	if a := h.ask(alice, "tcp4", h.ready.Listen[0], request("GET", h.ready.Listen[0], "/metrics", "")); a.Status == 200 {
		t.Error("the port of web pages has the metrics")
	}
}

// TestHostileMeasurements has an agent report what it likes: for tenants of others, for more than can be, and without end.
func TestHostileMeasurements(t *testing.T) {
	h, alice, bob := newAttack(t)
	h.start()
	hers, his := h.puppet(alice, "1"), h.puppet(bob, "1")
	for tenant, p := range map[cardbroker.Tenant]puppet{"issuer": hers, "rival": his} {
		ended, who := h.backEnd(tenant, p.Route, "-"), alice
		if tenant == "rival" {
			who = bob
		}
		if _, err := h.bring(who, p.opened(t).ID); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
	h.until("the tunnels counted", func() bool { // a back end hears of its tunnel a moment earlier
		got := h.scrape()
		return got[`cardbroker_tunnels{tenant="issuer"}`] == 1 && got[`cardbroker_tunnels{tenant="rival"}`] == 1
	})
	one := api.Usage{Tenant: "issuer", Commands: 1}
	one.Queue.Add(time.Millisecond)
	one.Card.Add(time.Millisecond)
	foreign, absurd := one, one
	foreign.Tenant = "rival"
	absurd.Commands = math.MaxUint32
	for _, u := range []api.Usage{foreign, absurd, one} {
		if err := hers.WriteJSON(api.FromAgent{Usage: &u}); err != nil {
			t.Fatal(err)
		}
	}
	h.until("the reports read", func() bool { return h.scrape()[`cardbroker_commands_total{tenant="issuer"}`] == 1 })
	got := h.scrape()
	if n := got[`cardbroker_commands_total{tenant="rival"}`]; n != 0 {
		t.Errorf("another's tenant has %v commands", n)
	}
	if n := got["cardbroker_usage_ignored_total"]; n != 2 {
		t.Errorf("%v reports were ignored, want 2", n)
	}
	const flood = 2000
	for range flood {
		if err := hers.WriteJSON(api.FromAgent{Usage: &foreign}); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range h.sessions() {
		if s.State != cardbroker.Registered {
			t.Errorf("after a flood %s is %s", s.Session, s.State)
		}
	}
	if n := h.scrape()["cardbroker_usage_ignored_total"]; n > flood {
		t.Errorf("%v of %d reports were looked at", n, flood)
	}
}
