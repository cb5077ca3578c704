// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/test/stage"
)

const shopPage = "https://shop.example"

// shopServer is a site's own back end, which makes JWTs for its pages.
type shopServer struct{ key *ecdsa.PrivateKey }

// newShop has machine policy want JWTs of the shop's pages, for the agents that start from now on.
func (h *host) newShop() shopServer {
	h.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		h.t.Fatal(err)
	}
	number := func(n *big.Int) string { return base64.RawURLEncoding.EncodeToString(n.FillBytes(make([]byte, 32))) }
	h.policy = h.Path("policy.d")
	for name, text := range map[string]string{
		"keys.json": fmt.Sprintf(`{"keys":[{"kty":"EC","crv":"P-256","kid":"k","x":%q,"y":%q}]}`, number(key.X), number(key.Y)),
		"a.yaml": "consent: {allow: [" + shopPage + ", https://free.example]}\ntenants:\n  issuer:\n    origins: [" + shopPage + "]\n" +
			"    page_jwt: {jwks_file: " + h.policy + "/keys.json, issuer: shop, audience: cards}\n",
	} {
		if err := os.MkdirAll(h.policy, 0o755); err != nil {
			h.t.Fatal(err)
		}
		if err := os.WriteFile(h.policy+"/"+name, []byte(text), 0o644); err != nil {
			h.t.Fatal(err)
		}
	}
	return shopServer{key}
}

// token returns a JWT for pages of an origin.
func (p shopServer) token(origin string) string {
	part := func(v any) string {
		text, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(text)
	}
	now := time.Now().Unix()
	text := part(map[string]string{"alg": "ES256", "kid": "k"}) + "." +
		part(map[string]any{"iss": "shop", "aud": "cards", "sub": "u", "jti": "j", "iat": now, "exp": now + 300, "azp": origin})
	digest := sha256.Sum256([]byte(text))
	r, s, _ := ecdsa.Sign(rand.Reader, p.key, digest[:])
	return text + "." + base64.RawURLEncoding.EncodeToString(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}

// TestPageJWT: where policy wants a JWT of a tenant's pages, consent alone opens nothing: no request, no event stream, no WebSocket.
func TestPageJWT(t *testing.T) {
	h, alice, _ := newAttack(t)
	h.start()
	idp := h.newShop()
	_, line := h.logon(alice)
	agent := line.Listen[0]
	good, foreign := idp.token(shopPage), idp.token("https://free.example")
	for _, test := range []struct {
		name, path, origin, token string
		want                      string // reason and rule; "": 200
	}{
		{"a page with its JWT", "/v3/readers", shopPage, good, ""},
		{"a page with consent alone", "/v3/readers", shopPage, "", "unauthenticated page_jwt"},
		{"a page with another's", "/v3/readers", shopPage, foreign, "unauthenticated page_jwt"},
		{"leases", "/cb/v1/leases", shopPage, "", "unauthenticated page_jwt"},
		{"an EventSource, which cannot say who it is", "/cb/v1/events", shopPage, "", "unauthenticated page_jwt"},
		{"anybody's route", "/info", shopPage, "", ""},
		{"a page of which none is wanted", "/v3/readers", "https://free.example", "", ""},
		{"a page without consent", "/v3/readers", "https://evil.example", good, "consent_required origin_unconsented"},
		{"a program", "/v3/readers", "", "", ""},
	} {
		var headers []string
		if test.origin != "" {
			headers = append(headers, "Origin: "+test.origin, "Sec-Fetch-Site: cross-site")
		}
		if test.token != "" {
			headers = append(headers, "Authorization: Bearer "+test.token)
		}
		got := h.ask(alice, "tcp", agent, request("GET", agent, test.path, "", headers...))
		if got.reason() != test.want || (got.Status == 200) != (test.want == "") {
			t.Errorf("%s is answered %d %s, want %q", test.name, got.Status, got.Body, test.want)
		}
		if test.origin != "" && got.Header.Get("Access-Control-Allow-Origin") != test.origin {
			t.Errorf("%s cannot read its answer", test.name)
		}
	}
	for name, test := range map[string]struct {
		origin, first string
		good          bool
	}{
		"its JWT":                  {shopPage, `{"authorization":"Bearer ` + good + `"}`, true},
		"another page's":           {shopPage, `{"authorization":"Bearer ` + foreign + `"}`, false},
		"nothing that is one":      {shopPage, `{}`, false},
		"more than it should":      {shopPage, `{"authorization":"Bearer ` + good + `","x":1}`, false},
		"no JSON":                  {shopPage, good, false},
		"nothing for five seconds": {shopPage, "", false},
		"nothing, and need not":    {"https://free.example", "", true},
	} {
		t.Run("a WebSocket that says "+name, func(t *testing.T) { h.pageSocket(t, alice, agent, test.origin, test.first, test.good) })
	}
}

// pageSocket opens a page's WebSocket for events, says the first message, and looks at what comes.
func (h *host) pageSocket(t *testing.T, p *stage.Person, agent, origin, first string, good bool) {
	dialer := websocket.Dialer{NetDial: func(string, string) (net.Conn, error) { return h.dial(p, "tcp", "", agent) }}
	c, _, err := dialer.Dial("ws://"+agent+"/cb/v1/events", http.Header{"Origin": {origin}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if first != "" {
		if err := c.WriteMessage(websocket.TextMessage, []byte(first)); err != nil {
			t.Fatal(err)
		}
	}
	c.SetReadDeadline(time.Now().Add(limit / 4))
	_, text, err := c.ReadMessage()
	if err != nil {
		t.Fatal(err)
	}
	if good != strings.Contains(string(text), api.EventReaderAdded) {
		t.Errorf("the first thing that comes is %s", text)
	}
	if !good {
		if !strings.Contains(string(text), `"rule":"page_jwt"`) {
			t.Errorf("refused with %s", text)
		}
		if _, _, err := c.ReadMessage(); !websocket.IsCloseError(err, websocket.ClosePolicyViolation) {
			t.Errorf("the end is %v, want 1008", err)
		}
	}
}
