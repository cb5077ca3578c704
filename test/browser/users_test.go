// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package browser

import (
	"fmt"
	"sync"
	"testing"

	"github.com/cardbroker/cardbroker/api"
)

const app = "https://app.example"

// own is what a page does to find the readers of whoever looks at it: the broker tells it the agent.
const own = `async broker => {
	const agents = (await (await fetch(broker + '/v3/agents')).json()).data;
	const agent = 'http://' + agents[0].apiIp + ':' + agents[0].apiPort;
	const readers = (await (await fetch(agent + '/v3/readers')).json()).data;
	return agents.length + ' ' + agent + ' ' + readers.map(r => r.id).join();
}`

// ask is what a page does to ask for consent.
const ask = `async broker => {
	const headers = {'Content-Type': 'application/json', 'X-CSRF-Token': 't1c-js'};
	const body = JSON.stringify({codeWord: '::t1c::miksa::' + 'a'.repeat(32)});
	const r = await fetch(broker + '/v3/consent', {method: 'POST', credentials: 'include', headers, body});
	return r.status + ' ' + (await r.json()).success;
}`

// TestTwoUsers: two users look at the same page at the same time. Each is led to his own agent and sees his own reader, once
// he has consented; what he consents to is not the other's. Then both load it a hundred times at once, as fast as they can.
func TestTwoUsers(t *testing.T) {
	h := newHost(t)
	var want [2]string
	for i := range h.users {
		u := &h.users[i]
		u.browse()
		if err := u.Grant(app, "loopbackNetwork"); err != nil {
			t.Fatal(err)
		}
		var list struct{ Readers []api.CardReader }
		u.run(&list, "agent", "readers")
		want[i] = "1 " + u.agent + " " + string(list.Readers[0].ID)
	}
	t.Log(h.users[0].Version)
	if want[0] == want[1] {
		t.Fatal("two users have the same reader")
	}
	for i := range h.users {
		u, other := &h.users[i], &h.users[1-i]
		p := u.open(app)
		check := func(address, want string) {
			t.Helper()
			if got := h.do(p, fmt.Sprintf("get(%q, {credentials: 'include'})", address)); got != want {
				t.Errorf("%s: %s is answered %s, want %s; %q", u.Name, address, got, want, p.Told())
			}
		}
		check(h.broker+"/info", "200 ok")
		check(u.agent+"/v3/readers", "412 origin_unconsented")
		if err := p.Run(fmt.Sprintf("window.asked = (%s)(%q), ''", ask, h.broker), nil); err != nil {
			t.Fatal(err)
		}
		u.run(nil, "agent", "consent", "approve", app)
		if got := h.do(p, "window.asked"); got != "200 true" {
			t.Errorf("%s: the page that asked for consent is answered %s", u.Name, got)
		}
		check(u.agent+"/v3/readers", "200 ok")
		if i == 0 {
			check(other.agent+"/v3/readers", "412 origin_unconsented") // her consent is not his
		} else {
			check(other.agent+"/v3/readers", "403 other_user")
		}
		for _, way := range []string{"socket", "events"} {
			if got := h.do(p, fmt.Sprintf("%s('%s/cb/v1/events')", way, u.agent)); got != "open" {
				t.Errorf("%s: %s is %s; %q", u.Name, way, got, p.Told())
			}
		}
	}
	var racing sync.WaitGroup
	for i := range h.users {
		racing.Go(func() { race(t, &h.users[i], want[i]) })
	}
	racing.Wait()
}

// Each of the racing users loads the page so often, and each page so many more into frames, all at once.
const (
	loads     = 10
	eachLoads = 9
)

// inFrames runs a function in each of the page's frames.
const inFrames = `async (n, run) => {
	const found = Array.from({length: n}, (_, i) => new Promise((done, fail) => {
		const f = document.createElement('iframe');
		f.onload = () => f.contentWindow.eval(run).then(done, fail);
		f.src = '/frame/' + i;
		document.body.append(f);
	}));
	return [...new Set(await Promise.all(found))].join();
}`

// race loads the page again and again; each page, and each that is in a frame of it, must find the readers of its user.
func race(t *testing.T, u *user, want string) {
	p, err := u.Open(app)
	if err != nil {
		t.Error(err)
		return
	}
	for i := range loads {
		got := ""
		err := p.Load(fmt.Sprint(app, "/", i))
		if err == nil {
			all := fmt.Sprintf("(%s)(%d, %q)", inFrames, eachLoads, fmt.Sprintf("(%s)(%q)", own, u.h.broker))
			err = p.Run(fmt.Sprintf("Promise.all([(%s)(%q), %s]).then(found => [...new Set(found)].join())", own, u.h.broker, all), &got)
		}
		if err != nil || got != want {
			t.Errorf("load %d of %s finds %q, %v, want %s; %q", i, u.Name, got, err, want, p.Told())
			return
		}
	}
}
