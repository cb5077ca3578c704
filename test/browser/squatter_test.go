// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package browser

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/home"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/epoch"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/jose"
	"github.com/cardbroker/cardbroker/test/stage"
)

// squatter is a program where the registry is elected, and another beside it that passes for an agent. Both are one user's, and lie to the
// pages of others.
type squatter struct {
	key  *ecdsa.PrivateKey
	jwk  json.RawMessage
	id   string // thumbprint
	fake string // port of the false agent

	mu      sync.Mutex
	leads   string // port of the agent that pages are told of
	vouches string // thumbprint of its key, by his word
	pins    []string
	kept    []string // consents that pages have shown him
}

// squat has a user take the well-known port, on both addresses, and one more. end gives both back.
func (h *host) squat(by *stage.Person, port cardbroker.Port) (s *squatter, end func()) {
	h.t.Helper()
	s = &squatter{}
	var err error
	if s.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		h.t.Fatal(err)
	}
	if s.jwk, s.id, err = jose.PublicKey(s.key.Public(), jose.ECDHES); err != nil {
		h.t.Fatal(err)
	}
	server := &http.Server{Handler: s}
	var serving sync.WaitGroup
	for _, port := range []cardbroker.Port{port, 0} {
		var listeners []net.Listener
		failed := stage.As(by.Cred.Uid, func() { listeners, err = httpserver.ListenLoopback(h.Context(), port) })
		if failed != nil || err != nil {
			h.t.Fatal(failed, err)
		}
		for _, l := range listeners {
			serving.Go(func() { server.Serve(l) })
		}
		_, s.fake, _ = net.SplitHostPort(listeners[0].Addr().String())
	}
	end = sync.OnceFunc(func() { server.Close(); serving.Wait() })
	h.t.Cleanup(end)
	s.lead(s.fake, s.id)
	return s, end
}

// lead has pages told of an agent, and of the thumbprint of its key.
func (s *squatter) lead(port, thumbprint string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leads, s.vouches = port, thumbprint
}

func (s *squatter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
	w.Header().Set("Access-Control-Allow-Headers", "content-type,x-csrf-token")
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	var answer any = struct{}{}
	switch _, last, _ := strings.Cut(r.URL.Path[1:], "/"); {
	case r.Method == http.MethodOptions:
		return
	case strings.HasPrefix(r.URL.Path, "/local/"):
		http.Error(w, "{}", http.StatusNotFound)
		return
	case r.URL.Path == "/info":
		answer = api.NewInfo("host", api.InfoService{URL: "http://127.0.0.1", DeviceType: "PROXY"}, api.InfoCardbroker{Version: "1", Mode: api.ModeElected, Epoch: epoch.Now()})
	case last == "consent", last == "validate":
		var shown api.ValidateRequest
		json.Unmarshal(body, &shown)
		s.kept = append(s.kept, shown.Consents...)
		consent := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, `{"agent":{"apiPort":%q}}`, s.leads))
		answer = api.Success{Success: true, Data: api.ConsentState{State: api.ConsentApproved, Consent: consent, Consents: shown.Consents}}
	case last == "v1/agent":
		answer = api.OwnAgent{State: cardbroker.Registered, DeviceKeyThumbprint: s.vouches}
	case last == "readers":
		answer = api.Success{Success: true, Data: []api.CardReader{{ID: "0123456789abcdef", Name: "false reader", Card: &api.CardReaderCard{ATR: "3B8001"}}}}
	case last == "v1/device-key":
		answer = map[string]any{"keys": []json.RawMessage{s.jwk}}
	case last == "v1/pin-challenges":
		answer = api.PINChallenge{Nonce: "n"}
	case strings.HasSuffix(last, "/verify-pin"):
		s.pins = append(s.pins, s.pin(body))
		answer = api.PINVerified{Verified: true}
	}
	json.NewEncoder(w).Encode(answer)
}

// pin is what the false agent reads of a PIN, in clear or encrypted to his key.
func (s *squatter) pin(body []byte) string {
	var said struct{ PIN string }
	json.Unmarshal(body, &said)
	sealed, err := jose.ParseSealed(said.PIN)
	if err != nil {
		return said.PIN
	}
	text, ok := sealed.Open(s.key)
	if !ok {
		return "sealed for somebody else"
	}
	return "sealed " + string(text)
}

// got returns the PINs that he has got since the last time.
func (s *squatter) got() (pins []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pins, s.pins = s.pins, nil
	return pins
}

// candidates has the host do without a service, in a scope, and returns where the registry is elected, and what agents are told of that.
func (h *host) candidates(scope string) (port cardbroker.Port, flags []string) {
	h.t.Helper()
	if err := h.service.Stop(); err != nil {
		h.t.Fatal(err)
	}
	at, err := h.Reserve()
	if err != nil {
		h.t.Fatal(err)
	}
	h.broker = "http://" + at
	for name, text := range map[string]string{
		"agent.yaml": fmt.Sprintf("elect: {enabled: true, listen: %q}\n", at), "policy.d/election.yaml": "election: {scope: " + scope + "}\n",
	} {
		if err := os.MkdirAll(filepath.Dir(h.Path(name)), 0o755); err != nil {
			h.t.Fatal(err)
		}
		if err := os.WriteFile(h.Path(name), []byte(text), 0o644); err != nil {
			h.t.Fatal(err)
		}
	}
	return cardbroker.Port(netip.MustParseAddrPort(at).Port()), []string{"--config", h.Path("agent.yaml"), "--policy", h.Path("policy.d")}
}

// waits waits until an agent of the user says that it is not registered, and returns its process and port.
func (u *user) waits() (pid int, port string) {
	u.h.t.Helper()
	var said home.Waits
	u.h.until("an agent that is not registered", func() bool {
		said, _ = home.ReadWaits(u.Home+"/state", cardbroker.SessionID(u.session))
		return said.Port != 0
	})
	return said.PID, fmt.Sprint(said.Port)
}

// asks has a program of a user ask an agent.
func (h *host) asks(p *stage.Person, port, path string) (said string) {
	h.t.Helper()
	dial := func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		var dialer net.Dialer
		dialer.SetMultipathTCP(false)
		failed := stage.As(p.Cred.Uid, func() { conn, err = dialer.DialContext(ctx, network, address) })
		return conn, errors.Join(failed, err)
	}
	asks := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: dial}}
	request, err := http.NewRequestWithContext(h.Context(), http.MethodGet, "http://127.0.0.1:"+port+path, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	response, err := asks.Do(request)
	if err != nil {
		h.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return string(text)
}

// What pages do with our SDK.
const (
	firstReader = "said(async () => { window.reader = (await client.readers())[0]; return reader.name })"
	verifyPIN   = "said(() => client.verifyPin(reader.id, {reference: '80', aid: 'A000000308', pin: '%s'}))"
	hers        = "cardbroker Software Reader 00 00"
)

// TestPagesAtASquatter is what docs/election.md warns of, in Chromium: bob has the well-known port before any agent of alice's is elected. A page
// of hers takes him for a registry, and what is typed into it reaches him, whether it asks as it likes or with our SDK: he vouches for a key of
// his own. Her agent has no part in that: it is not even asked for the card, bob's word opens nothing there, and when he has gone all tries of the PIN are left.
func TestPagesAtASquatter(t *testing.T) {
	for _, scope := range []string{"same_user", "any_user"} {
		t.Run(scope, func(t *testing.T) { pagesAtASquatter(t, scope) })
	}
}

func pagesAtASquatter(t *testing.T, scope string) {
	h := setStage(t)
	alice, bob := &h.users[0], &h.users[1]
	alice.session = "s1"
	port, flags := h.candidates(scope)
	alice.logon(append(flags, "--software-card")...)
	alice.run(nil, "agent", "consent", "approve", app)
	if err := alice.service.Stop(); err != nil {
		t.Fatal(err)
	}
	his, gone := h.squat(bob.Person, port)
	started := make(chan error, 1)
	go func() { // it is ready when he has gone
		_, _, err := h.Start(alice.Person, "kept-out", alice.mine(append([]string{"agent", "run", "--software-card"}, flags...)...)...)
		started <- err
	}()
	pid, agent := alice.waits()
	alice.browses(app, evil)

	p := alice.sdk(app)
	h.says(p, fmt.Sprintf("get('%s/info')", h.broker), "200 ok")
	const raw = "get('http://127.0.0.1:%s/v3/modules/piv/verify-pin', {method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{\"pin\":\"111111\"}'})"
	h.says(p, fmt.Sprintf(raw, his.fake), "200 ok")
	h.says(p, "join()", "true")
	h.says(p, firstReader, "false reader")
	h.says(p, fmt.Sprintf(verifyPIN, "222222"), "true")
	if pins := his.got(); !slices.Equal(pins, []string{"111111", "sealed 222222"}) {
		t.Errorf("bob has got the PINs %q: tell docs/election.md", pins)
	}
	if child, err := stage.ChildOf(pid); err == nil {
		t.Errorf("alice's agent has started process %d: somebody has asked it for the card", child)
	}
	his.lead(agent, his.id)
	h.noWordOfHis(alice, bob, agent)

	gone()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	h.says(p, "join()", "false")                           // bob's consents are none
	h.says(p, "said(() => client.consent())", "undefined") // she has consented before
	h.says(p, firstReader, hers)
	h.says(p, fmt.Sprintf(verifyPIN, "654321"), "pin_incorrect 2 fix") // the first wrong one
	h.says(p, fmt.Sprintf(verifyPIN, "123456"), "true")
	if pins := his.got(); len(pins) > 0 {
		t.Errorf("bob has got the PINs %q", pins)
	}
	var list struct{ Consents []api.Consent }
	alice.run(&list, "agent", "consent", "list")
	if len(list.Consents) != 1 || list.Consents[0].Origin != app {
		t.Errorf("alice's consents are %+v", list.Consents)
	}
}

// browses starts the user's browser, with pages that it lets reach this host.
func (u *user) browses(origins ...string) {
	u.h.t.Helper()
	u.browse()
	for _, origin := range origins {
		if err := u.Grant(origin, "loopbackNetwork"); err != nil {
			u.h.t.Fatal(err)
		}
	}
}

// noWordOfHis has a page to which alice has not consented be led to her agent, as if she had; and bob himself ask it.
func (h *host) noWordOfHis(alice, bob *user, agent string) {
	h.t.Helper()
	hostile := alice.sdk(evil)
	defer hostile.Close()
	h.says(hostile, "join()", "true")
	h.says(hostile, firstReader, "consent_required fix")
	h.says(hostile, fmt.Sprintf("get('http://127.0.0.1:%s/v3/readers')", agent), "412 origin_unconsented")
	if said := h.asks(bob.Person, agent, "/v3/readers"); !strings.Contains(said, `"other_user"`) {
		h.t.Errorf("alice's agent answers bob %s", said)
	}
}

// TestSDKAtASquatter has bob take the port from an agent of alice's that had been registered, when the one that led dies. He leads pages to
// that agent, or vouches for a key that is not the false agent's: our SDK gives the PIN to nobody.
func TestSDKAtASquatter(t *testing.T) {
	h := setStage(t)
	alice, bob := &h.users[0], &h.users[1]
	port, flags := h.candidates("same_user")
	flags = append(flags, "--software-card")
	alice.session = "leads"
	alice.logon(flags...)
	leads := alice.service
	alice.session = "follows"
	alice.logon(flags...)
	alice.run(nil, "agent", "consent", "approve", app)
	h.until("the agent's key", func() bool {
		return strings.Contains(h.asks(alice.Person, fmt.Sprint(alice.port), "/cb/v1/device-key"), `"P-256"`)
	})
	if err := syscall.Kill(alice.pid, syscall.SIGSTOP); err != nil { // else it would be elected
		t.Fatal(err)
	}
	leads.Kill()
	his, _ := h.squat(bob.Person, port)
	if err := syscall.Kill(alice.pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if pid, at := alice.waits(); pid != alice.pid || at != fmt.Sprint(alice.port) {
		t.Fatalf("process %d at port %s waits, want %d at %d", pid, at, alice.pid, alice.port)
	}
	alice.browses(app, evil)
	p := alice.sdk(app)
	foreign := strings.Repeat("A", len(his.id))
	for _, lie := range []struct{ port, vouched, reader, says string }{
		{fmt.Sprint(alice.port), his.id, hers, "key_mismatch fix"},
		{fmt.Sprint(alice.port), foreign, hers, "key_mismatch fix"},
		{fmt.Sprint(alice.port), "", hers, "unavailable fix"}, // the SDK waits for a key to be vouched for
		{his.fake, foreign, "false reader", "key_mismatch fix"},
	} {
		his.lead(lie.port, lie.vouched)
		h.says(p, "join()", "true")
		h.says(p, firstReader, lie.reader)
		h.says(p, fmt.Sprintf(verifyPIN, "123456"), lie.says)
	}
	his.lead(fmt.Sprint(alice.port), his.id)
	h.noWordOfHis(alice, bob, fmt.Sprint(alice.port))
	if pins := his.got(); len(pins) > 0 {
		t.Errorf("bob has got the PINs %q", pins)
	}
}
