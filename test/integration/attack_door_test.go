// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// door is the address of the back-end door.
func (h *host) door() string { return h.ready.Backend[len("wss://"):] }

// doorTLS trusts the door's certificate.
func (h *host) doorTLS() *tls.Config {
	h.t.Helper()
	certificate, err := os.ReadFile(h.Path("door.pem"))
	if err != nil {
		h.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certificate)
	return &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"}
}

// token returns a tenant's token.
func (h *host) token(tenant cardbroker.Tenant) string {
	h.t.Helper()
	file := map[cardbroker.Tenant]string{"issuer": "token", "rival": "rival.token"}[tenant]
	token, err := os.ReadFile(h.Path(file))
	if err != nil {
		h.t.Fatal(err)
	}
	return string(token)
}

// anyTicket returns a ticket of that route which nobody minted.
func anyTicket(route cardbroker.Route) string {
	return cardbroker.Ticket{Route: route, Secret: cardbroker.RandomSecret()}.Reveal()
}

// backEnd has a back end ask for a tunnel over a route; the channel has its answer.
func (h *host) backEnd(tenant cardbroker.Tenant, route cardbroker.Route, reader string) <-chan error {
	header := http.Header{"Authorization": {"Bearer " + h.token(tenant)}, "Cardbroker-Ticket": {anyTicket(route)}}
	url, conf, ended := h.ready.Backend+"/cb/v1/readers/"+reader+"/tunnel", h.doorTLS(), make(chan error, 1)
	go func() {
		conn, response, err := socket.NewMaker(wire.Subprotocol).Dial(h.Context(), socket.Dial{URL: url, Header: header, TLS: conf})
		if response != nil {
			err = api.ReadError(response)
		}
		if err == nil {
			h.t.Cleanup(func() { conn.Close() })
		}
		ended <- err
	}()
	return ended
}

// knock sends the text of a request to the door, and returns the answer as it came.
func (h *host) knock(request string) string {
	h.t.Helper()
	conn, err := tls.Dial("tcp4", h.door(), h.doorTLS())
	if err != nil {
		h.t.Fatal(err)
	}
	defer conn.Close()
	a, err := exchange(conn, request)
	if err != nil {
		h.t.Fatal(err)
	}
	a.Header.Del("Date")
	var header bytes.Buffer
	a.Header.Write(&header)
	return fmt.Sprintf("%d\n%s\n%s", a.Status, header.Bytes(), a.Body)
}

// tunnelRequest is the request for a tunnel.
func tunnelRequest(reader, token, ticket string) string {
	return "GET /cb/v1/readers/" + reader + "/tunnel HTTP/1.1\r\nHost: door\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: " + wire.Subprotocol +
		"\r\nAuthorization: Bearer " + token + "\r\nCardbroker-Ticket: " + ticket + "\r\n\r\n"
}

// TestMalformedHandshake sends handshakes that cannot be upgraded, with a good ticket: they were found out only when the
// agent had burnt it.
func TestMalformedHandshake(t *testing.T) {
	h, alice, _ := newAttack(t)
	h.start()
	h.logon(alice)
	good := h.offer(alice)
	request := tunnelRequest("-", h.token("issuer"), good.Ticket)
	for name, change := range map[string][2]string{
		"another version": {"Version: 13", "Version: 12"},
		"a short key":     {"AAAAAAAAAAAAAAAAAAAAAA==", "AAAA"},
		"another method":  {"GET ", "POST "},
	} {
		got := h.knock(strings.Replace(request, change[0], change[1], 1))
		if !strings.HasPrefix(got, "400\n") && !strings.HasPrefix(got, "404\n") {
			t.Errorf("%s is answered %s, want 400 or 404", name, got)
		}
	}
	h.apdu(0, good.Ticket, "80EE0000020102")
}

// TestTicketsLookAlike compares, byte for byte, the answers to everything that can be wrong with a ticket: a back end learns
// neither which routes, readers and tickets there are nor whose.
func TestTicketsLookAlike(t *testing.T) {
	h, alice, bob := newAttack(t)
	h.start()
	h.logon(alice)
	his := h.puppet(bob, "1")
	good, used := h.offer(alice), h.offer(alice)
	h.apdu(0, used.Ticket, "80EE0000020102")
	route := strings.Split(good.Ticket, ".")[1]
	secret := strings.Split(good.Ticket, ".")[2]
	issuer, rival := h.token("issuer"), h.token("rival")
	want := h.knock(tunnelRequest("-", issuer, anyTicket("0123456789abcdef")))
	if !strings.HasPrefix(want, "401\n") {
		t.Fatalf("an unknown route is answered %s", want)
	}
	for name, request := range map[string]string{
		"another secret":            tunnelRequest("-", issuer, anyTicket(cardbroker.Route(route))),
		"another tenant's":          tunnelRequest("-", rival, good.Ticket),
		"used":                      tunnelRequest("-", issuer, used.Ticket),
		"another reader":            tunnelRequest("0123456789abcdef", issuer, good.Ticket),
		"a reader in two parts":     tunnelRequest("-%2f-", issuer, good.Ticket),
		"a long reader":             tunnelRequest(strings.Repeat("a", 8000), issuer, good.Ticket),
		"malformed":                 tunnelRequest("-", issuer, "cbt1."),
		"none":                      tunnelRequest("-", issuer, ""),
		"a longer secret":           tunnelRequest("-", issuer, good.Ticket+"A"),
		"alice's over bob's route":  tunnelRequest("-", issuer, "cbt1.0123456789abcdee."+secret),
		"the route in upper case":   tunnelRequest("-", issuer, "cbt1."+strings.ToUpper(route)+"x."+secret),
		"the tenant's, in rival's ": tunnelRequest(string(good.Reader), rival, good.Ticket),
	} {
		if got := h.knock(request); got != want {
			t.Errorf("%s is answered %s\nwant as an unknown route: %s", name, got, want)
		}
	}
	t.Run("over the route of bob's agent", func(t *testing.T) {
		answer := make(chan string, 1)
		go func() {
			answer <- h.knock(tunnelRequest("-", issuer, "cbt1."+string(his.Route)+"."+secret))
		}()
		open := his.opened(t) // as he is asked he sees the ticket: it is worth nothing to him
		if _, err := h.bring(alice, open.ID); err == nil {
			t.Error("alice could bring bob's leg")
		}
		his.WriteJSON(api.FromAgent{Refused: &api.TunnelRefused{ID: open.ID}})
		if got := <-answer; !strings.HasPrefix(got, "500\n") {
			t.Errorf("a refusal without a reason is answered %s, want 500", got)
		}
	})
	h.apdu(0, good.Ticket, "80EE0000020102") // none of this has burnt it
}

// TestDoor asks without a tenant's token, and by other names.
func TestDoor(t *testing.T) {
	h := newHost(t)
	h.start()
	token := h.token("issuer")
	get := func(path string, headers ...string) string {
		return "GET " + path + " HTTP/1.1\r\nHost: door\r\n" + strings.Join(append(headers, "\r\n"), "\r\n")
	}
	for _, test := range []struct{ name, request, want string }{
		{"no token", get("/cb/v1/readers"), "401"},
		{"empty", get("/cb/v1/readers", "Authorization: Bearer "), "401"},
		{"garbage", get("/cb/v1/readers", "Authorization: Bearer "+strings.Repeat("\xff", 100)), "401"},
		{"half of it", get("/cb/v1/readers", "Authorization: Bearer "+token[:10]), "401"},
		{"another scheme", get("/cb/v1/readers", "Authorization: Basic "+token), "401"},
		{"in the query", get("/cb/v1/readers?access_token=" + token), "401"},
		{"the first of two", get("/cb/v1/readers", "Authorization: Bearer x", "Authorization: Bearer "+token), "401"},
		{"events", get("/cb/v1/readers/events"), "401"},
		{"a tunnel", tunnelRequest("-", "x", anyTicket("0123456789abcdef")), "401"},
		{"what is the local socket's", get("/local/v1/sessions", "Authorization: Bearer "+token), "404"},
		{"what is the browser's", get("/cb/v1/agent", "Authorization: Bearer "+token), "404"},
		{"by a page", get("/cb/v1/readers", "Authorization: Bearer "+token, "Origin: https://evil.example"), "412"},
		{"with it", get("/cb/v1/readers", "Authorization: Bearer "+token), "200"},
	} {
		if got := h.knock(test.request); !strings.HasPrefix(got, test.want+"\n") || strings.Contains(got, token[:10]) {
			t.Errorf("%s is answered %s, want %s", test.name, got, test.want)
		}
	}
}

// TestDoorAtOnce: a back end's tunnels come back all at once when the broker was away, from one address.
func TestDoorAtOnce(t *testing.T) {
	h := newHost(t)
	h.start()
	conn, err := tls.Dial("tcp4", h.door(), h.doorTLS())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for n := range 1500 {
		a, err := exchange(conn, "GET /cb/v1/readers HTTP/1.1\r\nHost: door\r\nAuthorization: Bearer "+h.token("issuer")+"\r\n\r\n")
		if err != nil || a.Status != http.StatusOK {
			t.Fatalf("request %d is answered %d, %v", n, a.Status, err)
		}
	}
}

// TestDoorIsNotFilled has one machine come from many of its addresses and say nothing. Each address had a limit of its own,
// of which a user of the host has 16 million: the broker ran out of files for everybody.
func TestDoorIsNotFilled(t *testing.T) {
	h, alice, bob := newAttack(t)
	h.start()
	before := descriptors(t, h.ready.PID)
	var conns []net.Conn
	h.as(bob, func() {
		for i := range 6000 {
			dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+i/100))}}
			if conn, err := dialer.Dial("tcp4", h.door()); err == nil {
				conns = append(conns, conn)
			}
		}
	})
	most := descriptors(t, h.ready.PID)
	if most > before+4096+16+10 { // 16 more are told why nothing is served
		t.Errorf("%d connections were kept", most-before)
	}
	info := "GET /info HTTP/1.1\r\nHost: " + h.ready.Listen[0] + "\r\n\r\n"
	if worst := h.slowest(alice, 20, "tcp4", h.ready.Listen[0], info); worst > starved {
		t.Errorf("alice waits %v", worst)
	}
	for _, conn := range conns {
		conn.Close()
	}
	h.settle(h.ready.PID, before)
}
