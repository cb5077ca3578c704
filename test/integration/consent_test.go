// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/test/stage"
)

const shop = "https://shop.example"

// setConsent makes a policy of root's whose prompt for consent runs its user's script, as h.setPolicy does for PINs.
func (h *host) setConsent(more string) {
	h.t.Helper()
	h.policy = h.Path("policy.d")
	for name, content := range map[string]string{
		"ask":             "#!/bin/sh\ncat >>\"$HOME/told\"\n. \"$HOME/answer\"\n",
		"policy.d/a.yaml": "consent: {prompt: [" + h.Path("ask") + "]" + more + "}\n",
	} {
		if err := os.MkdirAll(filepath.Dir(h.Path(name)), 0o755); err != nil {
			h.t.Fatal(err)
		}
		if err := os.WriteFile(h.Path(name), []byte(content), 0o755); err != nil {
			h.t.Fatal(err)
		}
	}
}

// session starts an agent of a user in a session with a name.
func (h *host) session(p *stage.Person, name string) (*stage.Service, string) {
	h.t.Helper()
	service, line, err := h.Start(p, "agent-"+p.Name+"-"+name, "agent", "run", "--socket", h.socket, "--state", p.Home+"/state",
		"--policy", h.policy, "--session", name, "--software-card")
	if err != nil {
		h.t.Fatal(err)
	}
	return service, line.Listen[0]
}

// cli runs an agent's command in a session.
func (h *host) cli(p *stage.Person, session string, status int, answer any, args ...string) {
	h.t.Helper()
	h.run(p, status, answer, append(append([]string{"agent"}, args...), "--socket", h.socket, "--state", p.Home+"/state", "--session", session)...)
}

// page is a request of a web page of that origin.
func page(origin, method, to, path, body string) string {
	return request(method, to, path, body, "Origin: "+origin, "X-CSRF-Token: t1c-js", "Content-Type: application/json;charset=UTF-8", "Sec-Fetch-Site: cross-site")
}

// consent has a page ask the broker for consent.
func (h *host) consent(p *stage.Person, origin string) (answer, api.ConsentState, api.T1CAgent) {
	h.t.Helper()
	well := h.ready.Listen[0]
	body := `{"codeWord":"::t1c::miksa::` + strings.Repeat("aB3", 10) + `xy","durationInDays":365}`
	return h.state(h.ask(p, "tcp4", well, page(origin, "POST", well, "/v3/consent", body)))
}

// validate has a page show a consent.
func (h *host) validate(p *stage.Person, origin, consent string) (answer, api.ConsentState, api.T1CAgent) {
	h.t.Helper()
	well := h.ready.Listen[0]
	return h.state(h.ask(p, "tcp4", well, page(origin, "POST", well, "/v3/validate", fmt.Sprintf(`{"consents":[%q]}`, consent))))
}

func (h *host) state(a answer) (answer, api.ConsentState, api.T1CAgent) {
	var said struct{ Data api.ConsentState }
	json.Unmarshal(a.Body, &said)
	text, _ := base64.StdEncoding.DecodeString(said.Data.Consent)
	var blob struct{ Agent api.T1CAgent }
	json.Unmarshal(text, &blob)
	return a, said.Data, blob.Agent
}

// TestConsent: a page asks, its user says yes, and it uses his agent and nobody else's; another user has nothing from what it
// was given.
func TestConsent(t *testing.T) {
	h, alice, bob := newAttack(t)
	h.setConsent("")
	h.start()
	_, at := h.session(alice, "one")
	_, his := h.session(bob, "one")
	h.answers(alice, "echo allow")
	h.answers(bob, "exit 1")
	if got := h.ask(alice, "tcp4", at, page(shop, "GET", at, "/v3/readers", "")); got.reason() != "consent_required origin_unconsented" {
		t.Errorf("before consent: %d %s", got.Status, got.Body)
	}
	a, state, agent := h.consent(alice, shop)
	if state.State != api.ConsentApproved || "127.0.0.1:"+agent.APIPort != at || a.Header.Get("Access-Control-Allow-Origin") != shop {
		t.Fatalf("her consent is %d %s", a.Status, a.Body)
	}
	if got := h.ask(alice, "tcp4", at, page(shop, "GET", at, "/v3/readers", "")); got.Status != 200 {
		t.Errorf("after consent: %d %s", got.Status, got.Body)
	}
	if told, _ := os.ReadFile(alice.Home + "/told"); strings.Count(string(told), `{"kind":"consent","origin":"`+shop+`","days":30,`) != 1 {
		t.Errorf("she was asked %s", told)
	}

	// Bob, with what she was given, at his own agent and at hers.
	if a, state, _ := h.validate(bob, shop, state.Consent); state.State != api.ConsentRequired || a.Status != 200 {
		t.Errorf("her consent, shown by bob, is %d %s", a.Status, a.Body)
	}
	if got := h.ask(bob, "tcp4", his, page(shop, "GET", his, "/v3/readers", "")); got.reason() != "consent_required origin_unconsented" {
		t.Errorf("bob's agent: %d %s", got.Status, got.Body)
	}
	if got := h.ask(bob, "tcp4", at, page(shop, "GET", at, "/v3/readers", "")); got.reason() != "caller_refused other_user" {
		t.Errorf("bob at her agent: %d %s", got.Status, got.Body)
	}
	for range 4 { // as clients repeat it
		if a, _, _ := h.consent(bob, shop); a.reason() != "consent_required origin_unconsented" || a.Status != 412 || !strings.Contains(string(a.Body), "814501") ||
			a.Header.Get("Access-Control-Allow-Origin") != shop {
			t.Errorf("bob's no is %d %s", a.Status, a.Body)
		}
	}
	if told, _ := os.ReadFile(bob.Home + "/told"); strings.Count(string(told), "consent") != 1 {
		t.Errorf("bob was asked %s", told)
	}
	var status struct{ Consents int }
	if h.cli(alice, "one", 0, &status, "status"); status.Consents != 1 {
		t.Errorf("her status counts %d consents", status.Consents)
	}
	if h.cli(bob, "one", 0, &status, "status"); status.Consents != 0 {
		t.Errorf("bob's status counts %d consents", status.Consents)
	}
	own := h.ask(bob, "tcp4", h.ready.Listen[0], request("GET", h.ready.Listen[0], "/v3/agents", ""))
	if strings.Count(string(own.Body), "apiPort") != 1 || !strings.Contains(string(own.Body), his[len("127.0.0.1:"):]) {
		t.Errorf("bob's agents are %s", own.Body)
	}
}

// TestRevocation: a consent that is revoked in one session of the user ends, in his other session too, all that is open for its
// pages, within a second; what they keep of it is worth nothing.
func TestRevocation(t *testing.T) {
	h, alice, _ := newAttack(t)
	h.setConsent("")
	h.start()
	h.answers(alice, "echo allow")
	_, at := h.session(alice, "one")
	_, state, _ := h.consent(alice, shop)
	h.session(alice, "two")
	var worst []time.Duration
	for range 10 {
		h.cli(alice, "two", 0, nil, "consent", "approve", shop)
		h.until("the consent", func() bool { return h.ask(alice, "tcp4", at, page(shop, "GET", at, "/v3/readers", "")).Status == 200 })
		stream, kept, upgraded := h.mustDial(alice, "tcp4", at), h.mustDial(alice, "tcp4", at), h.mustDial(alice, "tcp4", at)
		io.WriteString(stream, page(shop, "GET", at, "/cb/v1/events", ""))
		io.WriteString(upgraded, request("GET", at, "/cb/v1/events", "", "Origin: "+shop, "Connection: Upgrade", "Upgrade: websocket",
			"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="))
		h.begun(stream, 200)
		h.begun(upgraded, 101)
		if a, err := exchange(kept, page(shop, "GET", at, "/v3/readers", "")); err != nil || a.Status != 200 {
			t.Fatalf("on a kept connection: %+v, %v", a, err)
		}
		half := h.mustDial(alice, "tcp4", at) // a request whose body comes later
		io.WriteString(half, strings.TrimSuffix(page(shop, "POST", at, "/cb/v1/offers", "{}"), "}"))

		ended := make(chan time.Time, 2)
		for _, conn := range []net.Conn{stream, upgraded} {
			go func() {
				io.Copy(io.Discard, conn)
				ended <- time.Now()
			}()
		}
		start := time.Now()
		h.cli(alice, "two", 0, nil, "consent", "revoke", shop)
		for range 2 {
			took := (<-ended).Sub(start)
			if took > starved { // the command's own start is in it
				t.Errorf("open for %v after its end", took)
			}
			worst = append(worst, took)
		}
		io.WriteString(half, "}")
		if a, err := readAnswer(half); err != nil || a.reason() != "consent_required origin_unconsented" {
			t.Errorf("a request that was under way: %d %s, %v", a.Status, a.Body, err)
		}
		if a, err := exchange(kept, page(shop, "GET", at, "/v3/readers", "")); err != nil || a.reason() != "consent_required origin_unconsented" {
			t.Errorf("on a kept connection, afterwards: %+v, %v", a, err)
		}
	}
	slices.Sort(worst)
	t.Logf("from the start of agent consent revoke, in the other session, to the sockets' end: p50 %v, max %v", worst[len(worst)/2], worst[len(worst)-1])
	h.cli(alice, "two", 4, nil, "consent", "revoke", shop)
	h.cli(alice, "two", 2, nil, "consent", "revoke", "shop.example")
	h.cli(alice, "two", 0, nil, "consent", "deny", shop)
	if got := h.ask(alice, "tcp4", at, page(shop, "GET", at, "/v3/readers", "")); got.Status != 412 {
		t.Errorf("after its end: %d %s", got.Status, got.Body)
	}
	_ = state
}

// begun reads the head of an answer that goes on.
func (h *host) begun(conn net.Conn, status int) {
	h.t.Helper()
	response, err := http.ReadResponse(bufio.NewReaderSize(conn, 16), nil)
	if err != nil || response.StatusCode != status {
		h.t.Fatalf("a stream began with %v, %v", response, err)
	}
}

// TestConsentRestarts: a broker that dies takes the open prompt with it, and the next one asks anew; an agent that comes back on
// another port is found by what the page has kept; a consent of before a revocation is worth nothing after it was given again.
func TestConsentRestarts(t *testing.T) {
	h, alice, _ := newAttack(t)
	h.setConsent("")
	h.start()
	h.answers(alice, "echo $$ >\"$HOME/pid\"; sleep 50; echo allow")
	agent, _ := h.session(alice, "one")
	well := h.ready.Listen[0]
	asking := h.mustDial(alice, "tcp4", well)
	io.WriteString(asking, page(shop, "POST", well, "/v3/consent", `{"codeWord":"::t1c::miksa::`+strings.Repeat("a", 32)+`","durationInDays":1}`))
	var pid string
	h.until("the prompt", func() bool {
		text, err := os.ReadFile(alice.Home + "/pid")
		pid = strings.TrimSpace(string(text))
		return err == nil && pid != ""
	})
	h.broker.Kill()
	h.until("the prompt's end", func() bool {
		_, err := os.Stat("/proc/" + pid)
		return err != nil
	})
	h.start()
	h.await("her agent", func(s api.Session) bool { return s.State == "REGISTERED" })
	h.answers(alice, "echo allow")
	_, state, before := h.consent(alice, shop)
	if state.State != api.ConsentApproved {
		t.Fatalf("after the broker's restart: %+v", state)
	}

	// Somebody leaves: the prompt goes.
	h.answers(alice, "echo $$ >\"$HOME/pid\"; sleep 50; echo allow")
	os.Remove(alice.Home + "/pid")
	leaving := h.mustDial(alice, "tcp4", well)
	io.WriteString(leaving, page("https://other.example", "POST", well, "/v3/consent", `{"codeWord":"::t1c::miksa::`+strings.Repeat("a", 32)+`","durationInDays":1}`))
	h.until("the prompt", func() bool {
		text, err := os.ReadFile(alice.Home + "/pid")
		pid = strings.TrimSpace(string(text))
		return err == nil && pid != ""
	})
	leaving.Close()
	h.until("the prompt's end", func() bool {
		_, err := os.Stat("/proc/" + pid)
		return err != nil
	})

	if err := agent.Stop(); err != nil {
		t.Fatal(err)
	}
	h.session(alice, "another") // another session, and so another port
	a, again, after := h.validate(alice, shop, state.Consent)
	if again.State != api.ConsentApproved || after.APIPort == before.APIPort || len(again.Consents) != 1 {
		t.Errorf("after the agent's restart: %d %s, port %s was %s", a.Status, a.Body, after.APIPort, before.APIPort)
	}
	h.cli(alice, "another", 0, nil, "consent", "revoke", shop)
	h.cli(alice, "another", 0, nil, "consent", "approve", shop)
	if _, old, _ := h.validate(alice, shop, state.Consent); old.State != api.ConsentRequired {
		t.Errorf("a consent of before a revocation: %+v", old)
	}
}

// TestConsentByPolicy: what policy allows takes no question and cannot be revoked; how long the way takes without the user.
func TestConsentByPolicy(t *testing.T) {
	h, alice, _ := newAttack(t)
	h.setConsent(", allow: ['https://*.corp.example'], deny: [https://evil.example]")
	h.start()
	h.answers(alice, "echo allow")
	_, at := h.session(alice, "one")
	var took []time.Duration
	for range 50 {
		start := time.Now()
		if a, state, _ := h.consent(alice, "https://a.corp.example"); state.State != api.ConsentApproved {
			t.Fatalf("what policy allows: %d %s", a.Status, a.Body)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	t.Logf("consent without the user, a connection each: p50 %v, max %v", took[len(took)/2], took[len(took)-1])
	if got := h.ask(alice, "tcp4", at, page("https://a.corp.example", "GET", at, "/v3/readers", "")); got.Status != 200 {
		t.Errorf("what policy allows: %d %s", got.Status, got.Body)
	}
	if a, _, _ := h.consent(alice, "https://evil.example"); a.reason() != "forbidden consent_policy" {
		t.Errorf("what policy denies: %d %s", a.Status, a.Body)
	}
	h.cli(alice, "one", 3, nil, "consent", "approve", "https://evil.example")
	h.cli(alice, "one", 3, nil, "consent", "revoke", "https://a.corp.example")
	if told, err := os.ReadFile(alice.Home + "/told"); err == nil {
		t.Errorf("she was asked %s", told)
	}
}
