// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package httpserver_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/peer"
)

// signer is a server under attack: it signs for whoever asks. It stands still where an attack hurts most.
type signer struct {
	address string
	outcome chan string   // of each request: the uid that it signed for, or the rule that refused
	read    chan struct{} // a request has been read
	attend  func()        // lets it accept connections
	act     func()        // lets it act on requests that it has read
}

func newSigner(t *testing.T) (signer, net.Listener, <-chan struct{}) {
	t.Helper()
	listener, err := httpserver.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	attend, act := make(chan struct{}), make(chan struct{})
	return signer{
		address: listener.Addr().String(),
		outcome: make(chan string, 4),
		read:    make(chan struct{}, 4),
		attend:  sync.OnceFunc(func() { close(attend) }),
		act:     sync.OnceFunc(func() { close(act) }),
	}, gated{Listener: listener, gate: attend}, act
}

// gated is a listener that accepts once its gate is open.
type gated struct {
	net.Listener
	gate <-chan struct{}
}

func (g gated) Accept() (net.Conn, error) {
	<-g.gate
	return g.Listener.Accept()
}

// naive looks at neither names nor pages, and asks who is calling right before it signs: who has the client's port?
func naive(t *testing.T) signer {
	s, listener, act := newSigner(t)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		s.read <- struct{}{}
		<-act
		s.outcome <- ownerOf(r.RemoteAddr)
	})}
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(listener) })
	t.Cleanup(func() {
		s.attend()
		s.act()
		server.Close()
		serving.Wait()
	})
	return s
}

// ownerOf returns the uid of the first socket with that local address, as one would read it from the kernel's table.
func ownerOf(address string) string {
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return err.Error()
	}
	want := fmt.Sprintf("0100007F:%04X", addrPort(address).Port()) // 127.0.0.1; others may have the port of other addresses
	for line := range strings.Lines(string(table)) {
		if fields := strings.Fields(line); fields[1] == want {
			return fields[7]
		}
	}
	return "nobody"
}

func ours(t *testing.T) signer {
	s, listener, act := newSigner(t)
	cfg := config()
	cfg.Routes = []httpserver.Route{{Method: "POST", Path: "/sign", Access: httpserver.Self, Handle: func(w http.ResponseWriter, r *http.Request) error {
		s.outcome <- httpserver.CallerOf(r.Context()).User.String()
		return httpserver.JSON(w, struct{}{})
	}}}
	cfg.Authorize = func(*http.Request, httpserver.Access) error {
		s.read <- struct{}{}
		<-act
		return nil
	}
	cfg.Refused = func(r httpserver.Refusal) { s.outcome <- string(cardbroker.RuleOf(r.Err)) }
	kernel := peer.NewKernel()
	t.Cleanup(kernel.Close)
	serve(t, cfg, httpserver.Listener{Listener: listener, Kind: httpserver.Loopback{Kernel: kernel}})
	t.Cleanup(func() {
		s.attend()
		s.act()
	})
	return s
}

// sign is a request that asks the server to sign, with further headers.
func sign(host string, headers ...string) string {
	return "POST /sign HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 2\r\n" + strings.Join(append(headers, "\r\n{}"), "\r\n")
}

// TestAttacks runs each attack against a naive server, which shows that it is one, and against ours. The victim is alice,
// for whom nobody but she may have something signed. All bind their ports, so that no other program of the host shares them.
func TestAttacks(t *testing.T) {
	for _, attack := range []struct {
		name        string
		stage       func(s signer, alice, bob *process) // one request
		naive, ours string                              // outcome
	}{
		{"none", func(s signer, alice, bob *process) {
			alice.do("dial 127.0.0.1:0 %s", s.address)
			alice.send(sign(s.address))
		}, "61001", "61001"},
		{"bob asks, leaves, and alice gets his port before he is accepted", func(s signer, alice, bob *process) {
			port := bob.do("dial 127.0.0.1:0 %s", s.address)
			bob.send(sign(s.address))
			bob.do("reset")
			alice.do("dial %s %s", port, s.address)
		}, "61001", "socket_gone"},
		{"bob asks, leaves, and alice gets his port before the server acts", func(s signer, alice, bob *process) {
			s.attend()
			port := bob.do("dial 127.0.0.1:0 %s", s.address)
			bob.send(sign(s.address))
			<-s.read
			bob.do("reset")
			alice.do("dial %s %s", port, s.address)
		}, "61001", "socket_gone"},
		{"a page that was bound to a name of its own asks as if it were ours", func(s signer, alice, bob *process) {
			alice.do("dial 127.0.0.1:0 %s", s.address)
			alice.send(sign("rebind.test:"+s.address[len("127.0.0.1:"):], "Sec-Fetch-Site: same-origin"))
		}, "61001", "host_header"},
		{"a page sends what a form may send, without asking before", func(s signer, alice, bob *process) {
			alice.do("dial 127.0.0.1:0 %s", s.address)
			alice.send(sign(s.address, "Origin: https://evil.example", "Content-Type: text/plain", "Sec-Fetch-Site: cross-site"))
		}, "61001", "origin_unconsented"},
		{"the same in a frame without origin", func(s signer, alice, bob *process) {
			alice.do("dial 127.0.0.1:0 %s", s.address)
			alice.send(sign(s.address, "Origin: null", "Content-Type: text/plain"))
		}, "61001", "origin_null"},
	} {
		t.Run(attack.name, func(t *testing.T) {
			for _, side := range []struct {
				name string
				make func(*testing.T) signer
				want string
			}{{"naive", naive, attack.naive}, {"ours", ours, attack.ours}} {
				s := side.make(t)
				attack.stage(s, start(t, alice), start(t, bob))
				s.attend()
				s.act()
				if got := <-s.outcome; got != side.want {
					t.Errorf("%s: %s, want %s", side.name, got, side.want)
				}
			}
		})
	}
}

// page is a server under attack by web pages, which act as browsers let them. allows is what it asks of a request.
type page struct {
	allows func(r *http.Request) bool
	cors   func(h http.Header, r *http.Request)
}

func (p page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p.cors != nil {
		p.cors(w.Header(), r)
	}
	if p.allows != nil && !p.allows(r) {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	io.WriteString(w, "secret")
}

// TestPageAttacks runs what web pages try on a naive server, each naive in a way that is seen in the wild, and on ours. The
// victim has consented to https://good.example. The attack has succeeded if something was done (a 2xx answer to what
// changes something) or if the page may read a secret.
func TestPageAttacks(t *testing.T) {
	origin := func(check func(origin string) bool) page {
		return page{allows: func(r *http.Request) bool { return check(r.Header.Get("Origin")) }}
	}
	begins := origin(func(o string) bool { return strings.HasPrefix(o, consented) })
	ends := origin(func(o string) bool { return strings.HasSuffix(o, "good.example") })
	hostOnly := origin(func(o string) bool { return strings.Contains(o+":", "://good.example:") })
	absentIsFine := origin(func(o string) bool { return o == "" || o == consented })
	unsafeOnly := page{allows: func(r *http.Request) bool { return r.Method == "GET" || r.Header.Get("Origin") == consented }}
	wildcard := page{cors: func(h http.Header, _ *http.Request) { h.Set("Access-Control-Allow-Origin", "*") }}
	reflecting := page{cors: func(h http.Header, r *http.Request) {
		h.Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
		h.Set("Access-Control-Allow-Credentials", "true")
	}}
	const evil, site = "Origin: https://evil.example", "Sec-Fetch-Site: cross-site"
	text, upgrade := "Content-Type: text/plain", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
	for _, attack := range []struct {
		name  string
		naive page
		line  string // of the request
		head  []string
		rule  cardbroker.Rule // of ours
	}{
		{"a body that a form may send", page{}, "POST /self", []string{evil, site, text}, cardbroker.RuleOriginUnconsented},
		{"a form's own body", page{}, "POST /self", []string{evil, site, "Content-Type: application/x-www-form-urlencoded"}, cardbroker.RuleOriginUnconsented},
		{"a form on a page that the user trusts", origin(func(o string) bool { return o == consented }), "POST /self", []string{"Origin: " + consented, site, text}, cardbroker.RuleCSRFToken},
		{"a link, an image, a script: no Origin", absentIsFine, "GET /self", []string{site, "Sec-Fetch-Mode: no-cors"}, cardbroker.RuleFetchNoOrigin},
		{"a WebSocket, which CORS does not cover", wildcard, "GET /push", []string{evil, upgrade}, cardbroker.RuleOriginUnconsented},
		{"an event stream", unsafeOnly, "GET /push", []string{evil, site, "Accept: text/event-stream"}, cardbroker.RuleOriginUnconsented},
		{"an event stream of a page under our own name", absentIsFine, "GET /push", []string{"Sec-Fetch-Site: same-origin", "Accept: text/event-stream"}, cardbroker.RuleSocketOrigin},
		{"reading where all may read", wildcard, "GET /self", []string{evil, site}, cardbroker.RuleOriginUnconsented},
		{"reading where whoever asks may read", reflecting, "GET /self", []string{evil, site}, cardbroker.RuleOriginUnconsented},
		{"a frame without origin, where whoever asks may read", reflecting, "GET /self", []string{"Origin: null"}, cardbroker.RuleOriginNull},
		{"a domain that begins like the consented", begins, "GET /self", []string{"Origin: " + consented + ".evil.example"}, cardbroker.RuleOriginUnconsented},
		{"a domain that ends like the consented", ends, "GET /self", []string{"Origin: https://notgood.example"}, cardbroker.RuleOriginUnconsented},
		{"the consented domain over http", hostOnly, "GET /self", []string{"Origin: http://good.example"}, cardbroker.RuleOriginUnconsented},
		{"another port of the consented domain", hostOnly, "GET /self", []string{"Origin: https://good.example:8443"}, cardbroker.RuleOriginUnconsented},
		{"another method behind one that needs no preflight", unsafeOnly, "GET /self?_method=POST", []string{evil, "X-HTTP-Method-Override: POST"}, cardbroker.RuleOriginUnconsented},
	} {
		t.Run(attack.name, func(t *testing.T) {
			listener, err := httpserver.Listen(t.Context(), "tcp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			server := &http.Server{Handler: attack.naive}
			var serving sync.WaitGroup
			serving.Go(func() { server.Serve(listener) })
			defer serving.Wait()
			defer server.Close()
			l := newLoopback(t, config())
			send := func(address string) answer {
				head := append([]string{attack.line + " HTTP/1.1", "Host: " + address}, attack.head...)
				body := "\r\n\r\n"
				if strings.HasPrefix(attack.line, "POST") {
					body = "\r\nContent-Length: 2\r\n\r\n{}"
				}
				return ask(t, dial(t, address), strings.Join(head, "\r\n")+body)
			}
			if a := send(listener.Addr().String()); a.StatusCode != 200 || a.text != "secret" {
				t.Errorf("the naive server answers %d %s: the attack is not what it was", a.StatusCode, a.text)
			}
			if a := send(l.v4); a.error.Rule != attack.rule || a.StatusCode < 400 || a.Header.Get("Access-Control-Allow-Origin") == "*" {
				t.Errorf("ours answers %d %v %s, want %s", a.StatusCode, a.Header, a.text, attack.rule)
			}
		})
	}
}
