// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker/api"
)

// naiveAgent does what seems enough. It lives here to be fooled.
type naiveAgent struct {
	port      string
	consented map[string]bool // by user name and origin
}

// grant believes a page that shows a code word of the right form, as if the clipboard had proven it.
func (n naiveAgent) grant(r *http.Request, _ string) bool {
	return regexp.MustCompile(`"codeWord":"::t1c::miksa::[A-Za-z0-9]{32}"`).MatchString(bodyOf(r))
}

// byName keeps consent by the name of the user that the consent holds.
func (n naiveAgent) byName(r *http.Request, _ string) bool {
	return n.consented[shownBy(r).Username+" "+r.Header.Get("Origin")]
}

// byBlob believes a consent that looks like one.
func (n naiveAgent) byBlob(r *http.Request, _ string) bool { return shownBy(r).APIPort != "" }

// ownPage takes the origin of its own address, with a CSRF header, for its own page.
func (n naiveAgent) ownPage(r *http.Request, _ string) bool {
	return r.Header.Get("Origin") == "http://127.0.0.1:"+n.port && r.Header.Get("X-CSRF-Token") != ""
}

// anyConsented lets a page that has consent do what the user's programs may.
func (n naiveAgent) anyConsented(r *http.Request, name string) bool {
	return n.consented[name+" "+r.Header.Get("Origin")] && r.Header.Get("X-CSRF-Token") != ""
}

// anyPort takes whatever comes from this host for its own page.
func (n naiveAgent) anyPort(r *http.Request, _ string) bool {
	return strings.HasPrefix(r.Header.Get("Origin"), "http://127.0.0.1:")
}

// sameOrigin serves what the browser calls a GET of the same origin.
func (n naiveAgent) sameOrigin(r *http.Request, _ string) bool {
	return r.Method == "GET" && r.Header.Get("Sec-Fetch-Site") == "same-origin"
}

// framed shows its page to who asks for it, as if a window and a frame were one.
func (n naiveAgent) framed(r *http.Request, _ string) bool {
	return r.Method == "GET" && r.URL.Path == "/consent" && r.Header.Get("Sec-Fetch-Mode") == "navigate"
}

func bodyOf(r *http.Request) string {
	var text strings.Builder
	bufio.NewReader(r.Body).WriteTo(&text)
	return text.String()
}

func shownBy(r *http.Request) api.T1CAgent {
	var shown struct{ Consents []string }
	json.Unmarshal([]byte(bodyOf(r)), &shown)
	var blob struct{ Agent api.T1CAgent }
	for _, text := range shown.Consents {
		raw, _ := base64.StdEncoding.DecodeString(text)
		json.Unmarshal(raw, &blob)
	}
	return blob.Agent
}

// TestConsentAttacks runs each attack against a naive version, which is fooled, and against the real programs, which are not.
// Alice has consented to shop.example, and to nothing else; she says no to all that she is asked.
func TestConsentAttacks(t *testing.T) {
	h, alice, bob := newAttack(t)
	h.setConsent("")
	h.start()
	h.answers(alice, "exit 1")
	h.answers(bob, "exit 1")
	_, at := h.session(alice, "one")
	h.session(bob, "one")
	h.cli(alice, "one", 0, nil, "consent", "approve", shop)
	_, state, hers := h.consent(alice, shop)
	well, port := h.ready.Listen[0], at[len("127.0.0.1:"):]
	forged := base64.StdEncoding.EncodeToString([]byte(`{"agent":{"username":"` + hers.Username + `","apiPort":"1","hostname":"` + hers.Hostname + `"}}`))
	show := func(consent string) string { return `{"consents":["` + consent + `"]}` }
	const evil = "https://evil.example"
	approve := `{"origin":"` + evil + `","answer":"approve"}`
	naive := naiveAgent{port: port, consented: map[string]bool{hers.Username + " " + shop: true}}
	for _, attack := range []struct {
		name    string
		fooled  func(*http.Request, string) bool
		by      string // "" is a page of alice's browser
		to      string
		request string
		want    string // reason and rule, or state
	}{
		{"a code word as proof", naive.grant, "", well, page(evil, "POST", well, "/v3/consent", `{"codeWord":"::t1c::miksa::`+strings.Repeat("x", 32)+`","durationInDays":365}`),
			"consent_required origin_unconsented"},
		{"consent by the user's name: hers, shown by bob", naive.byName, "bob", well, page(shop, "POST", well, "/v3/validate", show(state.Consent)), "REQUIRED"},
		{"a consent that is believed: made up by bob", naive.byBlob, "bob", well, page(shop, "POST", well, "/v3/validate", show(forged)), "REQUIRED"},
		{"a consent that is believed: another page's", naive.byBlob, "", well, page(evil, "POST", well, "/v3/validate", show(state.Consent)), "REQUIRED"},
		{"consents that grow on their way to the agent, over what its link takes: it lost the link", naive.byBlob, "", well, page(evil, "POST", well, "/v3/validate",
			`{"consents":["`+forged+`"`+strings.Repeat(`,"`+strings.Repeat("<", 4096)+`"`, 15)+`]}`), "REQUIRED"},
		{"a page that has consent approves another", naive.anyConsented, "", at, page(shop, "POST", at, "/cb/v1/consents", approve), "origin_denied own_page"},
		{"a page that has consent revokes another's", naive.anyConsented, "", at, page(shop, "POST", at, "/cb/v1/consents/revoke", `{"origin":"`+evil+`"}`), "origin_denied own_page"},
		{"what was left in the browser under our address approves", naive.ownPage, "", at, page("http://"+at, "POST", at, "/cb/v1/consents", approve), "consent_required origin_unconsented"},
		{"another user's page on another port of this host approves", naive.anyPort, "", at, page("http://127.0.0.1:1", "POST", at, "/cb/v1/consents", approve), "consent_required origin_unconsented"},
		{"what was left in the browser under our address reads", naive.sameOrigin, "", at, request("GET", at, "/cb/v1/consents", "", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors"),
			"origin_denied fetch_without_origin"},
		{"the same, of readers", naive.sameOrigin, "", at, request("GET", at, "/v3/readers", "", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors"), "origin_denied fetch_without_origin"},
		{"clickjacking: our page in a frame", naive.framed, "", at, request("GET", at, "/consent", "", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"),
			"origin_denied own_page"},
		{"clickjacking: in a frame of another page", naive.framed, "", at, request("GET", at, "/consent", "", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"),
			"origin_denied fetch_without_origin"},
	} {
		parsed, err := http.ReadRequest(bufio.NewReader(strings.NewReader(attack.request)))
		if err != nil {
			t.Fatal(err)
		}
		if !attack.fooled(parsed, hers.Username) {
			t.Errorf("%s: the naive version is not fooled", attack.name)
		}
		who := alice
		if attack.by == "bob" {
			who = bob
		}
		got := h.ask(who, "tcp4", attack.to, attack.request)
		_, state, _ := h.state(got)
		if result := got.reason() + state.State; result != attack.want {
			t.Errorf("%s: %d %s, want %s", attack.name, got.Status, got.Body, attack.want)
		}
	}
	var list api.Consents
	h.cli(alice, "one", 0, &list, "consent", "list")
	if len(list.Consents) != 1 || list.Consents[0].Origin != shop {
		t.Errorf("after all of it she has consented to %+v", list.Consents)
	}

	// Our own page, by its own name: shown alone, and in nobody's frame.
	led := h.ask(alice, "tcp4", at, request("GET", at, "/consent", "", "Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"))
	if led.Status != 303 || led.Header.Get("Location") != list.Page {
		t.Errorf("by our address: %d, %v, want %s", led.Status, led.Header, list.Page)
	}
	name := strings.TrimSuffix(strings.TrimPrefix(list.Page, "http://"), "/consent")
	shown := h.ask(alice, "tcp4", at, request("GET", name, "/consent", "", "Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"))
	policy := shown.Header.Get("Content-Security-Policy")
	if shown.Status != 200 || !strings.Contains(policy, "default-src 'self'") || !strings.Contains(policy, "frame-ancestors 'none'") || shown.Header.Get("X-Frame-Options") != "DENY" ||
		strings.Contains(string(shown.Body), "<script>") || strings.Contains(strings.ReplaceAll(string(shown.Body), "http-equiv", ""), "http") {
		t.Errorf("the page: %d %v %s", shown.Status, shown.Header, shown.Body)
	}
	if got := h.ask(alice, "tcp4", at, page("http://"+name, "POST", name, "/cb/v1/consents", approve)); got.Status != 200 {
		t.Errorf("by our own page: %d %s", got.Status, got.Body)
	}
	if got := h.ask(bob, "tcp4", at, page("http://"+name, "POST", name, "/cb/v1/consents", approve)); got.reason() != "caller_refused other_user" {
		t.Errorf("by our own page, of bob: %d %s", got.Status, got.Body)
	}
}
