// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package contract_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/client"
)

// codeWord is one as clients make them up.
const codeWord = "::t1c::miksa::0123456789abcdefABCDEF0123456789"

// page is a web page of that origin, which sends what clients of the contract send.
func page(origin string) option {
	return func(r *http.Request) {
		r.Header.Set("Origin", origin)
		r.Header.Set("X-CSRF-Token", "t1c-js")
		r.Header.Set("Content-Type", "application/json;charset=utf-8")
	}
}

// to names the server otherwise.
func to(host string) option { return func(r *http.Request) { r.Host = host } }

const shop, evil = "https://shop.example", "https://evil.example"

// consentBefore asks for consent where there is no agent, or none yet.
func (h *host) consentBefore(broker asked, status int, reason cardbroker.Reason) {
	h.t.Helper()
	broker.ask("POST", "/v3/consent", page(shop), body(`{"codeWord":"`+codeWord+`","durationInDays":365}`)).want(status, reason)
	broker.ask("POST", "/v3/validate", page(shop), body(`{"consents":[]}`)).want(status, reason)
	broker.ask("GET", "/v3/agents").want(status, reason)
}

// state is what a page makes of an answer: atob and JSON.parse.
func (a answer) state() (api.ConsentState, map[string]any) {
	a.t.Helper()
	var said struct{ Data api.ConsentState }
	a.want(200, "").into(&said)
	blob := map[string]any{}
	if said.Data.Consent != "" {
		text, err := base64.StdEncoding.DecodeString(said.Data.Consent)
		if err != nil || strings.ContainsFunc(string(text), func(r rune) bool { return r > 126 }) || json.Unmarshal(text, &blob) != nil {
			a.t.Errorf("the consent %q is not base64 of JSON in ASCII", said.Data.Consent)
		}
	}
	return said.Data, blob
}

// consentSeen has pages ask for consent, and the user say yes, no and no more.
func (h *host) consentSeen(broker, agent asked) {
	wish := func(origin, text string) answer { return broker.ask("POST", "/v3/consent", page(origin), body(text)) }
	good := `{"codeWord":"` + codeWord + `","durationInDays":365}`
	for _, bad := range []string{
		`{}`, `{"codeWord":""}`, `{"codeWord":"` + codeWord + `x"}`, strings.Replace(good, "0123456789a", "0123456789-", 1), strings.Replace(good, "365", "0", 1),
		strings.Replace(good, "365", "-1", 1), strings.Replace(good, "365", "1.5", 1), strings.Replace(good, "365", "1e99", 1), `[`,
	} {
		wish(shop, bad).want(400, cardbroker.Invalid)
	}
	broker.ask("POST", "/v3/consent", body(good)).want(400, cardbroker.Invalid) // a program has no origin
	broker.ask("POST", "/v3/validate", page(shop), body(`{"consents":1}`)).want(400, cardbroker.Invalid)

	h.answerWhenAsked(agent, shop, api.AnswerApprove)
	state, blob := wish(shop, good).state()
	where, _ := blob["agent"].(map[string]any)
	if port := agent.address[strings.LastIndex(agent.address, ":")+1:]; state.State != api.ConsentApproved || where["apiPort"] != port ||
		where["validityInDays"] != "30" || where["connectionState"] != "CONSENT" || where["hostname"] != "host.example" || blob["origin"] != shop {
		h.t.Errorf("the consent is %+v, %v", state, blob)
	}
	if again, _ := wish(shop, good).state(); again.State != api.ConsentApproved { // nobody is asked
		h.t.Errorf("again: %+v", again)
	}
	h.validateSeen(broker, state)
	agent.ask("GET", "/v3/readers", page(shop)).want(200, "")
	agent.ask("POST", "/cb/v1/offers", page(shop), body(`{"reader":"0000000000000000","tenant":"issuer"}`)).want(403, cardbroker.TenantDenied)
	agent.ask("GET", "/v3/readers", page(shop+":8443")).want(412, cardbroker.ConsentRequired)
	broker.ask("GET", "/v3/agents").want(200, "")
	for _, path := range []string{"/cb/v1/agent", "/v3/agents"} {
		broker.ask("GET", path, page(shop)).want(200, "")
		broker.ask("GET", path, page(evil)).want(412, cardbroker.ConsentRequired)
	}

	h.answerWhenAsked(agent, evil, api.AnswerDeny)
	for range 3 { // as clients repeat it
		wish(evil, good).want(412, cardbroker.ConsentRequired)
	}
	if os.Geteuid() == 0 {
		wish(denied, good).want(403, cardbroker.Forbidden)
		agent.ask("POST", "/cb/v1/consents", body(`{"origin":"`+denied+`","answer":"approve"}`)).want(403, cardbroker.Forbidden)
		agent.ask("POST", "/cb/v1/consents/revoke", body(`{"origin":"`+jwtPage+`"}`)).want(403, cardbroker.Forbidden)
	}
	h.consentsSeen(agent)
	again, _ := broker.ask("POST", "/v3/validate", page(shop), body(fmt.Sprintf(`{"consents":[%q]}`, state.Consent))).state()
	if again.State != api.ConsentRequired || len(again.Consents) != 0 {
		h.t.Errorf("a consent that was revoked is %+v", again)
	}
	agent.ask("GET", "/v3/readers", page(shop)).want(412, cardbroker.ConsentRequired)
}

// validateSeen shows the broker consents of all kinds.
func (h *host) validateSeen(broker asked, state api.ConsentState) {
	elsewhere := base64.StdEncoding.EncodeToString([]byte(`{"agent":{"apiPort":"24801","hostname":"other.example"},"signedHash":"x"}`))
	text, _ := base64.StdEncoding.DecodeString(state.Consent)
	forged := base64.StdEncoding.EncodeToString([]byte(strings.Replace(string(text), `"by":"user"`, `"by":"policy"`, 1)))
	for _, test := range []struct {
		name, origin string
		shown        []string
		want         string
		kept         int
	}{
		{"its own", shop, []string{state.Consent}, api.ConsentApproved, 1},
		{"its own and another host's", shop, []string{elsewhere, state.Consent}, api.ConsentApproved, 2},
		{"another host's", shop, []string{elsewhere}, api.ConsentRequired, 1},
		{"none", shop, []string{}, api.ConsentRequired, 0},
		{"garbage", shop, []string{"!", "", "e30=", strings.Repeat("A", 5000)}, api.ConsentRequired, 0},
		{"another page's", evil, []string{state.Consent}, api.ConsentRequired, 0},
		{"a forged one", shop, []string{forged}, api.ConsentRequired, 0},
	} {
		shown, _ := json.Marshal(api.ValidateRequest{Consents: test.shown})
		got, blob := broker.ask("POST", "/v3/validate", page(test.origin), body(string(shown))).state()
		if got.State != test.want || len(got.Consents) != test.kept || (len(blob) > 0) != (test.want == api.ConsentApproved) {
			h.t.Errorf("%s: %+v, want %s and %d", test.name, got, test.want, test.kept)
		}
	}
}

// consentsSeen asks the agent for its consents as programs, pages and its own page do.
func (h *host) consentsSeen(agent asked) {
	var all, own api.Consents
	agent.ask("GET", "/cb/v1/consents").want(200, "").into(&all)
	agent.ask("GET", "/cb/v1/consents", page(shop)).want(200, "").into(&own)
	if len(all.Consents) != 1 || len(own.Consents) != 1 || own.Page != "" || !strings.Contains(all.Page, ".localhost:") {
		h.t.Errorf("the consents are %+v, to a page %+v", all, own)
	}
	answerTo := func(origin, answer string) option {
		return body(fmt.Sprintf(`{"origin":%q,"answer":%q}`, origin, answer))
	}
	agent.ask("POST", "/cb/v1/consents", page(shop), answerTo(evil, "approve")).want(403, cardbroker.OriginDenied)
	agent.ask("POST", "/cb/v1/consents", page(evil), answerTo(evil, "approve")).want(412, cardbroker.ConsentRequired)
	agent.ask("POST", "/cb/v1/consents", answerTo(evil, "perhaps")).want(400, cardbroker.Invalid)
	agent.ask("POST", "/cb/v1/consents", answerTo("EVIL", "approve")).want(400, cardbroker.Invalid)
	agent.ask("POST", "/cb/v1/consents/revoke", page(shop), body(`{"origin":"`+evil+`"}`)).want(403, cardbroker.OriginDenied)
	agent.ask("POST", "/cb/v1/consents/revoke", body(`{"origin":"`+evil+`"}`)).want(412, cardbroker.ObjectUnknown)

	agent.ask("GET", "/consent").want(303, "")
	agent.ask("GET", "/consent", header("Sec-Fetch-Site", "none"), header("Sec-Fetch-Dest", "iframe")).want(403, cardbroker.OriginDenied)
	name := strings.TrimSuffix(strings.TrimPrefix(all.Page, "http://"), "/consent")
	for path, want := range map[string]string{"/consent": "consent.js", "/consent/consent.js": "use strict", "/consent/consent.css": "font"} {
		if got := agent.ask("GET", path, to(name), header("Sec-Fetch-Site", "same-origin")).want(200, ""); !strings.Contains(string(got.body), want) {
			h.t.Errorf("%s is %s", path, got.body)
		}
	}
	agent.ask("GET", "/consent/web.go", to(name)).want(412, cardbroker.ObjectUnknown)
	agent.ask("GET", "/cb/v1/consents", to(name), header("Sec-Fetch-Site", "same-origin")).want(200, "").into(&own)
	if len(own.Consents) != 1 {
		h.t.Errorf("the agent's page sees %+v", own)
	}
	mine := page("http://" + name)
	agent.ask("POST", "/cb/v1/consents", to(name), mine, answerTo(evil, "approve")).want(200, "")
	agent.ask("POST", "/cb/v1/consents/revoke", to(name), mine, body(`{"origin":"`+evil+`"}`)).want(200, "")
	agent.ask("POST", "/cb/v1/consents/revoke", page(shop), body(`{"origin":"`+shop+`"}`)).want(200, "")
	h.demo(agent)
	h.consentDisk(agent)
}

// demo: the demo page has a name of its own, by which it gets itself and nothing else. What else it does it does as a page of any
// other origin, with consent.
func (h *host) demo(agent asked) {
	agent.ask("GET", "/demo", header("Sec-Fetch-Site", "none"), header("Sec-Fetch-Dest", "iframe")).want(403, cardbroker.OriginDenied)
	place := agent.ask("GET", "/demo").want(303, "").header.Get("Location")
	name := strings.TrimSuffix(strings.TrimPrefix(place, "http://"), "/demo")
	if !strings.HasPrefix(name, "cardbroker-demo-") || !strings.HasSuffix(agent.address, name[strings.LastIndex(name, ":"):]) {
		h.t.Errorf("the demo is at %s", place)
	}
	itself := header("Sec-Fetch-Site", "same-origin")
	for path, want := range map[string]string{"/demo": "demo.js", "/demo/demo.js": "connect", "/demo/demo.css": "font", "/demo/cardbroker.js": "CardbrokerError"} {
		got := agent.ask("GET", path, to(name), itself).want(200, "")
		policy := got.header.Get("Content-Security-Policy")
		if !strings.Contains(string(got.body), want) || !strings.Contains(policy, "frame-ancestors 'none'") || !strings.Contains(policy, "default-src 'none'") {
			h.t.Errorf("%s is %s, with the policy %s", path, got.body, policy)
		}
	}
	for _, file := range []string{"consent.js", "consent.html", "demo.go"} {
		agent.ask("GET", "/demo/"+file, to(name), itself).want(412, cardbroker.ObjectUnknown)
	}
	origin := "http://" + name
	for _, path := range []string{"/info", "/consent", "/v3/readers", "/cb/v1/consents"} {
		agent.ask("GET", path, to(name), itself).want(403, cardbroker.OriginDenied)
		agent.ask("GET", path, to(name), page(origin)).want(403, cardbroker.OriginDenied)
	}
	answer := body(fmt.Sprintf(`{"origin":%q,"answer":"approve"}`, origin))
	agent.ask("POST", "/cb/v1/consents", to(name), page(origin), answer).want(403, cardbroker.OriginDenied)
	agent.ask("POST", "/cb/v1/consents", page(origin), answer).want(412, cardbroker.ConsentRequired)
	agent.ask("GET", "/v3/readers", page(origin)).want(412, cardbroker.ConsentRequired)
	agent.ask("POST", "/cb/v1/consents", answer).want(200, "")
	agent.ask("GET", "/v3/readers", page(origin)).want(200, "")
	agent.ask("GET", "/v3/readers", to(name), page(origin)).want(403, cardbroker.OriginDenied)
	agent.ask("POST", "/cb/v1/consents/revoke", page(origin), body(fmt.Sprintf(`{"origin":%q}`, origin))).want(200, "")
	before := strings.Replace(origin, "demo-", "demo-a", 1)
	agent.ask("POST", "/cb/v1/consents", body(fmt.Sprintf(`{"origin":%q,"answer":"approve"}`, before))).want(403, cardbroker.Forbidden)
}

// consentDisk has the agent store a consent, and the end of one, where it cannot.
func (h *host) consentDisk(agent asked) {
	answer := body(`{"origin":"` + evil + `","answer":"approve"}`)
	agent.ask("POST", "/cb/v1/consents", answer).want(200, "")
	h.check(os.Mkdir(h.path("agent-one", "consents.json.new"), 0o700))
	agent.ask("POST", "/cb/v1/consents/revoke", body(`{"origin":"`+evil+`"}`)).want(503, cardbroker.Unavailable)
	agent.ask("POST", "/cb/v1/consents", answer).want(503, cardbroker.Unavailable)
	agent.ask("GET", "/v3/readers", page(evil)).want(412, cardbroker.ConsentRequired)
	h.check(os.Remove(h.path("agent-one", "consents.json.new")))
}

// answerWhenAsked has the user answer a page as soon as it has asked.
func (h *host) answerWhenAsked(agent asked, origin, answer string) {
	_, text, _ := net.SplitHostPort(agent.address)
	port, err := strconv.ParseUint(text, 10, 16)
	h.check(err)
	user := client.NewAgent(cardbroker.Port(port))
	go func() {
		defer user.Close()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			list, err := user.Consents(h.t.Context())
			if err != nil {
				return
			}
			if len(list.Waiting) > 0 && string(list.Waiting[0].Origin) == origin {
				user.AnswerConsent(h.t.Context(), api.ConsentAnswer{Origin: origin, Answer: answer})
				return
			}
		}
	}()
}
