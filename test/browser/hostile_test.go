// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package browser

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/cardbroker/cardbroker/test/chromium"
)

const evil = "https://evil.example"

// naive is a local service as one might write it: it signs for whoever asks, lets every page read, and pushes to all.
type naive struct {
	mu   sync.Mutex
	done []string // what was asked of it since it was last looked at
}

func (n *naive) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if origin := r.Header.Get("Origin"); origin != "" {
		w.Header().Set("Access-Control-Allow-Origin", origin)
		w.Header().Set("Access-Control-Allow-Credentials", "true")
		w.Header().Set("Access-Control-Allow-Headers", "content-type,x-csrf-token,x-http-method-override")
	}
	body, _ := io.ReadAll(r.Body)
	n.mu.Lock()
	n.done = append(n.done, r.Method+" "+string(body))
	n.mu.Unlock()
	switch {
	case r.Header.Get("Upgrade") != "":
		upgradeNaively(w, r)
	case strings.Contains(r.Header.Get("Accept"), "event-stream"):
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: secret\n\n")
	case r.Method != http.MethodOptions:
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"success":true}`)
	}
}

// TestHostilePages runs what a page that nobody has consented to can try, in alice's own browser, which lets it reach
// loopback: on a naive service, and on her agent, which must neither do nor tell anything. What a request did to ours is seen
// by her leases and offers: there are none, and by the answers that a page can read.
func TestHostilePages(t *testing.T) {
	h := newHost(t)
	alice := &h.users[0]
	alice.browse()
	for _, origin := range []string{evil, "https://app.example.evil.test"} {
		if err := alice.Grant(origin, "loopbackNetwork"); err != nil {
			t.Fatal(err)
		}
	}
	alice.run(nil, "agent", "consent", "approve", app)
	service := &naive{}
	fooled := "http://" + serve(t, "127.0.0.1:0", service, nil)
	const post = `{method: 'POST', body: '{"reader":"0123456789abcdef","tenant":"rival"}'`
	pages := map[string]*chromium.Page{}
	for _, attack := range []struct {
		name, page, script string // PATH is an address of the server under attack, SERVER its origin
		naive, ours        string
	}{
		{"reading", evil, "get('PATH', {credentials: 'include'})", "200 ok", "412 origin_unconsented"},
		{"reading, from a domain that begins like the consented", "https://app.example.evil.test", "get('PATH', {credentials: 'include'})", "200 ok", "412 origin_unconsented"},
		{"reading, from the consented domain over http", "http://app.example", "get('PATH')", "failed", "failed"}, // Chromium's own: no secure page
		{"an offer, with all that a page of ours would send", evil, "get('SERVER/cb/v1/offers', " + post + ", headers: {'Content-Type': 'application/json', 'X-CSRF-Token': 'x'}})", "200 ok", "412 origin_unconsented"},
		{"an offer, as text, which asks nobody before", evil, "get('SERVER/cb/v1/offers', " + post + "})", "200 ok", "412 origin_unconsented"},
		{"an offer, blind", evil, "get('SERVER/cb/v1/offers', " + post + ", mode: 'no-cors'})", "opaque", "opaque"},
		{"another method in a header", evil, "get('PATH', {headers: {'X-HTTP-Method-Override': 'POST'}})", "200 ok", "failed"}, // not in our list of headers
		{"a WebSocket", evil, "socket('SERVER/cb/v1/events')", "open", "failed"},
		{"an event stream", evil, "events('SERVER/cb/v1/events')", "open", "failed"},
		{"an event stream with the user's cookies", evil, "events('SERVER/cb/v1/events', {withCredentials: true})", "open", "failed"},
		{"a frame that is none of ours", evil, `within(60000, done => {
			onmessage = e => done(e.data);
			const f = document.createElement('iframe');
			f.sandbox = 'allow-scripts'; f.allow = 'loopback-network';
			f.srcdoc = "<script>fetch('PATH').then(r => r.json()).then(r => parent.postMessage(r.rule || 'ok', '*'), () => parent.postMessage('failed', '*'))<\/script>";
			document.body.append(f);
		})`, "ok", "failed"},
	} {
		t.Run(attack.name, func(t *testing.T) {
			if pages[attack.page] == nil {
				pages[attack.page] = alice.open(attack.page)
			}
			p := pages[attack.page]
			for _, side := range []struct{ name, server, want string }{{"naive", fooled, attack.naive}, {"ours", alice.agent, attack.ours}} {
				script := strings.NewReplacer("PATH", side.server+"/v3/readers", "SERVER", side.server).Replace(attack.script)
				if got := h.do(p, script); got != side.want {
					t.Errorf("%s: %s, want %s; %q", side.name, got, side.want, p.Told())
				}
			}
		})
	}
	t.Run("a form", func(t *testing.T) { form(t, h, service, fooled) })
	t.Run("a page that was bound to a name of its own", func(t *testing.T) { rebind(t, h, fooled) })
	t.Run("a frame of the agent's page", func(t *testing.T) { frame(t, h, fooled) })
	var leases struct{ Leases []any }
	alice.run(&leases, "agent", "leases")
	if len(leases.Leases) > 0 {
		t.Errorf("after that there are leases: %v", leases)
	}
}

// form posts one, blindly, to both: a naive service does what it says; ours answers the page that it leads to.
func form(t *testing.T, h *host, service *naive, fooled string) {
	alice := &h.users[0]
	for server, want := range map[string]string{fooled: `{"success":true}`, alice.agent: `"rule":"origin_`} {
		p := alice.open(evil)
		script := `within(60000, done => {
			const f = document.createElement('form');
			f.method = 'POST'; f.enctype = 'text/plain'; f.action = '` + server + `/cb/v1/offers';
			f.innerHTML = '<input name=\'{"reader":"0123456789abcdef","tenant":"rival","x":"\' value=\'"}\'>';
			document.body.append(f);
			f.submit();
			done('sent');
		})`
		h.do(p, script)
		got := ""
		h.until("the form's answer", func() bool {
			p.Run("document.body ? document.body.innerText : ''", &got)
			return got != ""
		})
		if !strings.Contains(got, want) {
			t.Errorf("the form is answered %s, want %s", got, want)
		}
		p.Close()
	}
	service.mu.Lock()
	defer service.mu.Unlock()
	if !slices.ContainsFunc(service.done, func(d string) bool { return strings.Contains(d, `"x":"="}`) }) {
		t.Errorf("the naive service was sent %q: the attack is not what it was", service.done)
	}
}

// rebind has a page whose name now leads to the server ask it, as its own: Chromium sees nothing foreign in that.
func rebind(t *testing.T, h *host, fooled string) {
	alice := &h.users[0]
	for _, side := range []struct{ server, want string }{{fooled, "200 ok"}, {alice.agent, "403 host_header"}, {h.broker, "403 host_header"}} {
		p := alice.open(strings.Replace(side.server, "127.0.0.1", "rebind.test", 1) + "/info")
		const get = `fetch('/v3/readers').then(async r => { const said = await r.json(); return r.status + ' ' + (said.rule || 'ok') }, () => 'failed')`
		if got := h.do(p, get); got != side.want {
			t.Errorf("at %s the page gets %s, want %s", side.server, got, side.want)
		}
		p.Close()
	}
}

// frame puts the page on which alice answers for consent into a frame, as if its address were known: to have her click on it.
// That of a naive service is shown there.
func frame(t *testing.T, h *host, fooled string) {
	var list struct{ Page string }
	h.users[0].run(&list, "agent", "consent", "list")
	if list.Page == "" {
		t.Fatal("the agent has no page")
	}
	for address, want := range map[string]string{
		fooled + "/": `{"success":true}`, list.Page: "fetch_without_origin", h.users[0].agent + "/info": "fetch_without_origin",
	} {
		p := h.users[0].open(evil)
		h.do(p, fmt.Sprintf(`within(60000, done => {
			const f = document.createElement('iframe');
			f.allow = 'loopback-network';
			f.onload = () => done('loaded');
			f.src = %q;
			document.body.append(f);
		})`, address))
		inner, err := h.users[0].Frame(address)
		if err != nil {
			t.Fatal(err)
		}
		if got := h.do(inner, "document.body.innerText"); !strings.Contains(got, want) {
			t.Errorf("in a frame %s shows %s, want %s", address, got, want)
		}
		p.Close()
	}
}

// upgradeNaively opens a WebSocket for whoever asks, and pushes to it.
func upgradeNaively(w http.ResponseWriter, r *http.Request) {
	upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	ws, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer ws.Close()
	ws.WriteMessage(websocket.TextMessage, []byte("secret"))
	ws.ReadMessage()
}
