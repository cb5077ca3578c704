// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"context"
	"fmt"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
)

// TestForeignEntries has bob ask every route of the local socket about alice's sessions, with her claims.
func TestForeignEntries(t *testing.T) {
	h, alice, bob := newAttack(t)
	h.start()
	reserved, held := newClaim("reserved"), h.puppet(alice, "held")
	h.local(alice, "POST", "/local/v1/reserve", reserved)
	before := h.sessions()

	for _, claim := range []api.Claim{reserved, held.claim} {
		for _, attack := range []struct {
			method, path string
			body         any
			want         string // reason and rule
		}{
			{"POST", "/local/v1/renew", claim, "unauthenticated claim"},
			{"POST", "/local/v1/release", claim, ""}, // of nothing: he has no such session
			{"GET", "/local/v1/sessions", nil, "caller_refused not_admin"},
			{"GET", "/local/v1/leases", nil, "caller_refused not_admin"},
			{"GET", "/local/v1/doctor", nil, "caller_refused not_admin"},
			{"GET", "/local/v1/explain?client=127.0.0.1:1", nil, "caller_refused not_admin"},
			{"GET", "/local/v1/tunnels/0123456789abcdef0123456789abcdef", nil, "invalid"},
			{"GET", "/local/v1/link", nil, "invalid"},
			{"PUT", "/local/v1/reserve", claim, "not_found"},
			{"GET", "/local/v1/../v1/sessions", nil, "not_found"}, // a path that is not clean is no route
			{"POST", "/local/v1/renew", map[string]any{"session": claim.Session, "claim": claim.Claim, "uid": alice.Cred.Uid}, "invalid"},
		} {
			if got := h.local(bob, attack.method, attack.path, attack.body); got.reason() != attack.want || strings.Contains(string(got.Body), "alice") {
				t.Errorf("bob's %s %s is answered %d %s, want %q", attack.method, attack.path, got.Status, got.Body, attack.want)
			}
		}
		if _, answer := h.link(bob, claim, true); answer.Failed == nil || answer.Failed.Rule != cardbroker.RuleClaim {
			t.Errorf("bob's register with alice's claim is answered %+v", answer)
		}
	}
	if own := h.local(bob, "GET", "/local/v1/agents", nil); !strings.HasPrefix(string(own.Body), `{"sessions":[]`) {
		t.Errorf("bob's agents are %s", own.Body)
	}
	if after := h.sessions(); !reflect.DeepEqual(after, before) {
		t.Errorf("alice's sessions were %+v, are %+v", before, after)
	}
}

// TestReservationsOfOneUser takes all that bob can get; alice's session of the same name is another.
func TestReservationsOfOneUser(t *testing.T) {
	h, alice, bob := newAttack(t)
	h.start()
	for i := range 20 {
		want := ""
		if i >= 16 {
			want = "rate_limited quota"
		}
		session := cardbroker.SessionID(fmt.Sprint("s", i))
		if got := h.local(bob, "POST", "/local/v1/reserve", newClaim(session)); got.reason() != want {
			t.Errorf("bob's reservation %d is answered %d %s, want %q", i+1, got.Status, got.Body, want)
		}
	}
	h.puppet(alice, "s0")
}

// TestForeignTunnels has bob reach for a tunnel that waits for alice's agent: he brings the leg, often and at the same time,
// and refuses it over his own link.
func TestForeignTunnels(t *testing.T) {
	h, alice, bob := newAttack(t)
	h.start()
	hers, his := h.puppet(alice, "1"), h.puppet(bob, "1")
	ended := h.backEnd("issuer", hers.Route, "-")
	open := hers.opened(t)

	body := api.ErrorBody{Reason: cardbroker.ReaderBusy, Description: "bob says no"}
	if err := his.WriteJSON(api.FromAgent{Refused: &api.TunnelRefused{ID: open.ID, Error: body}}); err != nil {
		t.Fatal(err)
	}
	var attackers sync.WaitGroup
	for range 8 {
		attackers.Go(func() {
			if conn, err := h.bring(bob, open.ID); err == nil {
				conn.Close()
				t.Error("bob's leg was taken")
			} else if cardbroker.RuleOf(err) != cardbroker.RuleTicket {
				t.Errorf("bob's leg: %v, want a refusal by the ticket", err)
			}
		})
	}
	attackers.Wait()
	leg, err := h.bring(alice, open.ID)
	if err != nil {
		t.Fatalf("alice's leg: %v", err)
	}
	if _, err := h.bring(alice, open.ID); cardbroker.RuleOf(err) != cardbroker.RuleTicket {
		t.Errorf("a second leg: %v, want a refusal", err)
	}
	leg.Close()
	if err := <-ended; err != nil {
		t.Errorf("the back end was answered %v, want its tunnel", err)
	}
}

// TestForeignOffers has bob's agent offer what is not his: neither tenant may take it for alice's, and his words end with
// his link.
func TestForeignOffers(t *testing.T) {
	h, alice, bob := newAttack(t)
	h.start()
	hers, his := h.puppet(alice, "1"), h.puppet(bob, "2")
	say := func(p puppet, name string) {
		offers := api.Offers{Offers: []api.OfferedReader{{Tenant: "issuer", ID: "0123456789abcdef", Name: name}}}
		if err := p.WriteJSON(api.FromAgent{Offers: &offers}); err != nil {
			t.Fatal(err)
		}
	}
	say(hers, "alice's")
	say(his, "bob's")
	list := func() (names string) {
		var answer api.RemoteReaders
		h.run(nil, 0, &answer, "reader", "list", "--broker", h.ready.Backend, "--ca", h.Path("door.pem"), "--token-file", h.Path("token"))
		for _, r := range answer.Readers {
			names += fmt.Sprintf("%s in %s;", r.Name, r.Session)
		}
		return names
	}
	h.until("both offers", func() bool { return list() == "alice's in 1;bob's in 2;" })
	his.Close()
	h.until("alice's offer alone", func() bool { return list() == "alice's in 1;" })
}

// TestNamesInTables has bob's agent name a reader so that an administrator's terminal obeys, and the table has a row more.
func TestNamesInTables(t *testing.T) {
	h, _, bob := newAttack(t)
	h.start()
	his := h.puppet(bob, "1")
	lease := api.Lease{Tenant: "issuer", Reader: "R\x1b]0;owned\a\u009b2J\nfake  row", Session: "1"}
	if err := his.WriteJSON(api.FromAgent{Offers: &api.Offers{Leases: []api.Lease{lease}}}); err != nil {
		t.Fatal(err)
	}
	h.until("bob's lease", func() bool {
		out, err := h.Run(nil, "cardbroker", "host", "leases", "--socket", h.socket)
		if text := string(out.Stdout); err != nil || strings.ContainsAny(text, "\x1b\a\u009b") || strings.Count(text, "\n") > 2 {
			t.Fatalf("the table is %q, %v", text, err)
		}
		return strings.Contains(string(out.Stdout), "fake  row")
	})
}

// TestBadLinks says on links what no agent says: each ends alone, and nothing of it is left in the broker.
func TestBadLinks(t *testing.T) {
	h, alice, bob := newAttack(t)
	h.start()
	h.puppet(alice, "1")
	before := descriptors(t, h.ready.PID)
	for name, say := range map[string]func(*websocket.Conn){
		"text":          func(ws *websocket.Conn) { ws.WriteMessage(websocket.TextMessage, []byte("{}")) },
		"no JSON":       func(ws *websocket.Conn) { ws.WriteMessage(websocket.BinaryMessage, []byte("{")) },
		"nothing in it": func(ws *websocket.Conn) { ws.WriteMessage(websocket.BinaryMessage, []byte("{}")) },
		"null": func(ws *websocket.Conn) {
			ws.WriteMessage(websocket.BinaryMessage, []byte(`{"register":null,"offers":null}`))
		},
		"deep": func(ws *websocket.Conn) {
			ws.WriteMessage(websocket.BinaryMessage, []byte(strings.Repeat("[", 100_000)))
		},
		"offers before register": func(ws *websocket.Conn) { ws.WriteJSON(api.FromAgent{Offers: &api.Offers{}}) },
		"over the limit":         func(ws *websocket.Conn) { ws.WriteMessage(websocket.BinaryMessage, make([]byte, 1<<20)) },
		"a frame without an end": func(ws *websocket.Conn) {
			ws.NetConn().Write([]byte{0x02, 0xFF, 0x7F, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4})
		},
		"reserved bits":            func(ws *websocket.Conn) { ws.NetConn().Write([]byte{0xF2, 0x80, 1, 2, 3, 4}) },
		"without a mask":           func(ws *websocket.Conn) { ws.NetConn().Write([]byte{0x82, 0x02, '{', '}'}) },
		"a long ping":              func(ws *websocket.Conn) { ws.NetConn().Write([]byte{0x89, 0xFE, 1, 0, 1, 2, 3, 4}) },
		"fragments for ever":       fragments,
		"the link's end, and more": func(ws *websocket.Conn) { ws.NetConn().Write([]byte{0x88, 0x80, 1, 2, 3, 4, 0x82, 0x80, 1, 2, 3, 4}) },
	} {
		t.Run(name, func(t *testing.T) {
			dialer := websocket.Dialer{
				Subprotocols: []string{api.LinkProtocol},
				NetDialContext: func(context.Context, string, string) (net.Conn, error) {
					return h.dial(bob, "unix", "", h.socket)
				},
			}
			ws, _, err := dialer.DialContext(h.Context(), "ws://cardbroker/local/v1/link", nil)
			if err != nil {
				t.Fatal(err)
			}
			defer ws.Close()
			say(ws)
			ws.SetReadDeadline(time.Now().Add(9 * time.Second)) // before the 10 s that a link has to register
			for err == nil {
				_, _, err = ws.ReadMessage()
			}
			if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
				t.Error("the link lives on")
			}
		})
	}
	h.settle(h.ready.PID, before)
	if s := h.sessions(); len(s) != 1 || s[0].State != cardbroker.Registered {
		t.Errorf("after that the sessions are %+v", s)
	}
}

// fragments begins a message and goes on with it until the other side ends the connection.
func fragments(ws *websocket.Conn) {
	frame := append([]byte{0x02, 0xFE, 4, 0, 0, 0, 0, 0}, make([]byte, 1024)...)
	for {
		if _, err := ws.NetConn().Write(frame); err != nil {
			return
		}
		frame[0] = 0x00
	}
}

// TestLinkFlood has bob's agent talk without a pause: alice is served as before, and what it says of refusals does not fill
// the broker's memory. It was told to all lists and subscribers each time once, and kept in full.
func TestLinkFlood(t *testing.T) {
	h, alice, bob := newAttack(t)
	h.start()
	h.puppet(alice, "1")
	his := h.puppet(bob, "1")
	detail := strings.Repeat("x", 100_000)
	said, stop := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(said)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			message := api.FromAgent{Caller: &api.CallerRefused{Client: "127.0.0.1:1", Server: "127.0.0.1:2", Detail: detail}}
			if i >= 400 {
				message = api.FromAgent{Offers: &api.Offers{Offers: []api.OfferedReader{{Tenant: "issuer", Name: fmt.Sprint(i)}}}}
			}
			if his.WriteJSON(message) != nil {
				return
			}
		}
	}()
	own := "GET /cb/v1/agent HTTP/1.1\r\nHost: " + h.ready.Listen[0] + "\r\n\r\n"
	if worst := h.slowest(alice, 50, "tcp4", h.ready.Listen[0], own); worst > starved {
		t.Errorf("alice waits %v", worst)
	}
	var e api.Explanation
	h.run(nil, 0, &e, "host", "explain", "127.0.0.1:1", "--to", fmt.Sprintf("127.0.0.1:%d", his.Port), "--socket", h.socket)
	if len(e.Detail) > 1000 {
		t.Errorf("the broker keeps %d bytes of one refusal", len(e.Detail))
	}
	close(stop)
	his.Close()
	<-said
}
