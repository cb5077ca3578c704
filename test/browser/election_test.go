// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package browser

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/test/chromium"
)

// TestElectedRegistry has pages in Chromium ask a registry that agents have elected, as they would ask a service: a page of the user's
// learns which agent is his, with his consent. No page, not even one of the registry's own origin, opens a link as agents do, has it
// leave office, or releases a port; and a page of another user learns nothing but that it is not for him.
func TestElectedRegistry(t *testing.T) {
	h := setStage(t)
	alice, bob := &h.users[0], &h.users[1]
	elect(t, h, alice)
	alice.browse()
	bob.browse()
	for _, u := range []*user{alice, bob} {
		for _, origin := range []string{app, evil} {
			if err := u.Grant(origin, "loopbackNetwork"); err != nil {
				t.Fatal(err)
			}
		}
	}
	alice.run(nil, "agent", "consent", "approve", app)
	const post = `{method: 'POST', headers: {'Content-Type': 'application/json', 'X-CSRF-Token': 'x'}, body: '{}'}`
	pages := map[string]string{"hers": app, "hostile": evil, "the registry's own": h.broker + "/info"}
	open := map[string]*chromium.Page{}
	for _, ask := range []struct{ page, script, want string }{
		{"hers", "get('SERVER/info')", "200 ok"},
		{"hers", "get('SERVER/cb/v1/agent')", "200 ok"},
		{"hers", "fetch('SERVER/v3/agents', {headers: {'X-CSRF-Token': 'x'}}).then(r => r.json()).then(r => r.data[0].apiPort)", fmt.Sprint(alice.port)},
		{"hers", "get('AGENT/v3/readers')", "200 ok"},
		{"hostile", "get('SERVER/v3/agents', {headers: {'X-CSRF-Token': 'x'}})", "412 origin_unconsented"},
		{"hostile", "get('SERVER/cb/v1/agent')", "412 origin_unconsented"},
		{"hostile", "socket('SERVER/local/v1/link')", "failed"},
		{"hostile", "within(60000, done => { const s = new WebSocket('SERVER/local/v1/link'.replace('http', 'ws'), 'LINK'); s.onopen = () => done('open'); s.onerror = () => done('failed') })", "failed"},
		{"hostile", "get('SERVER/local/v1/resign', " + post + ")", "403 own_page"},
		{"hostile", "get('SERVER/local/v1/resign', {method: 'POST', mode: 'no-cors'})", "opaque"},
		{"hostile", "get('SERVER/local/v1/release', {method: 'POST', mode: 'no-cors', body: '{}'})", "opaque"},
		{"the registry's own", alone("within(60000, done => { const s = new WebSocket('SERVER/local/v1/link'.replace('http', 'ws'), 'LINK'); s.onopen = () => done('open'); s.onerror = () => done('failed') })"), "failed"},
		{"the registry's own", alone("fetch('SERVER/local/v1/resign', " + post + ").then(r => r.status + '', () => 'failed')"), "403"},
		{"the registry's own", alone("fetch('SERVER/local/v1/agents').then(r => r.status + '', () => 'failed')"), "403"},
		{"hers", "get('SERVER/info')", "200 ok"},
	} {
		p := open[ask.page]
		if p == nil {
			p = alice.open(pages[ask.page])
			open[ask.page] = p
		}
		script := strings.NewReplacer("SERVER", h.broker, "AGENT", alice.agent, "LINK", api.LinkProtocol).Replace(ask.script)
		if got := h.do(p, script); got != ask.want {
			t.Errorf("%s page: %s: %s, want %s; %q", ask.page, ask.script, got, ask.want, p.Told())
		}
	}
	p := bob.open(app)
	for _, path := range []string{"/info", "/cb/v1/agent", "/healthz"} {
		if got := h.do(p, "get('"+h.broker+path+"')"); got != "403 scope_same_user" {
			t.Errorf("bob's page at her registry, %s: %s", path, got)
		}
	}
}

// alone defines what a page of the registry's own origin lacks.
func alone(script string) string {
	return "(() => { const within = (ms, f) => new Promise(done => { f(done); setTimeout(() => done('silent'), ms) }); return " + script + " })()"
}

// elect has an agent of the user keep the registry, on a port of its own.
func elect(t *testing.T, h *host, u *user) {
	t.Helper()
	at, err := h.Reserve()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.service.Stop(); err != nil {
		t.Fatal(err)
	}
	file := h.Path("agent.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, "elect: {enabled: true, listen: %q}\n", at), 0o644); err != nil {
		t.Fatal(err)
	}
	u.logon("--software-card", "--config", file)
	h.broker = "http://" + at
}
