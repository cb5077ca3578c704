// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package httpserver_test

import (
	"bufio"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/peer"
	"github.com/cardbroker/cardbroker/internal/testenv"
)

func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// loopback is a server on both loopback addresses of this host.
type loopback struct {
	served
	v4, v6 string // addresses; v6 is empty on a host without IPv6
	port   string
}

func newLoopback(t *testing.T, cfg httpserver.Config) loopback {
	t.Helper()
	kernel := peer.NewKernel()
	listeners, err := httpserver.ListenLoopback(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	l := loopback{v4: listeners[0].Addr().String()}
	_, l.port, _ = net.SplitHostPort(l.v4)
	var attested []httpserver.Listener
	for _, listener := range listeners {
		attested = append(attested, httpserver.Listener{Listener: listener, Kind: httpserver.Loopback{Kernel: kernel, Name: "card.example"}})
	}
	if len(listeners) > 1 {
		l.v6 = listeners[1].Addr().String()
	}
	t.Cleanup(kernel.Close) // after the server has stopped
	l.served = serve(t, cfg, attested...)
	return l
}

// dial connects to the server as ourselves.
func dial(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}

// TestRequests is the table of what is served and what is refused, by which rule.
func TestRequests(t *testing.T) {
	const (
		from    = "Origin: " + consented
		json    = "Content-Type: application/json"
		token   = "X-CSRF-Token: t1c-js"
		browser = "Sec-Fetch-Mode: cors\nSec-Fetch-Site: cross-site"
		body    = "Content-Length: 2"
	)
	const served = cardbroker.Rule("") // 200
	tests := []struct {
		name    string
		request string // lines; the Host of our port goes after the first, unless one is there; {} ends those with a body
		want    cardbroker.Rule
	}{
		// Names of this host.
		{"127.0.0.1", "GET /self HTTP/1.1\nHost: 127.0.0.1:PORT", served},
		{"localhost", "GET /self HTTP/1.1\nHost: localhost:PORT", served},
		{"LocalHost", "GET /self HTTP/1.1\nHost: LocalHost:PORT", served},
		{"IPv6", "GET /self HTTP/1.1\nHost: [::1]:PORT", served},
		{"the configured name", "GET /self HTTP/1.1\nHost: Card.Example:PORT", served},
		{"HTTP/1.0 with a name", "GET /self HTTP/1.0\nHost: 127.0.0.1:PORT", served},
		{"HTTP/1.0 without a name", "GET /self HTTP/1.0\n", cardbroker.RuleHostHeader},
		{"a rebound name", "GET /self HTTP/1.1\nHost: rebind.test:PORT", cardbroker.RuleHostHeader},
		{"a rebound name, public route", "GET /public HTTP/1.1\nHost: rebind.test:PORT", cardbroker.RuleHostHeader},
		{"a rebound name, no such route", "GET /x HTTP/1.1\nHost: rebind.test:PORT", cardbroker.RuleHostHeader},
		{"a rebound name, preflight", "OPTIONS /self HTTP/1.1\nHost: rebind.test:PORT\n" + from, cardbroker.RuleHostHeader},
		{"a rebound name, by the request's address", "GET http://rebind.test:PORT/self HTTP/1.1\nHost: 127.0.0.1:PORT", cardbroker.RuleHostHeader},
		{"our name, by the request's address", "GET http://127.0.0.1:PORT/self HTTP/1.1\nHost: rebind.test", served},
		{"no port", "GET /self HTTP/1.1\nHost: 127.0.0.1", cardbroker.RuleHostHeader},
		{"another port", "GET /self HTTP/1.1\nHost: 127.0.0.1:80", cardbroker.RuleHostHeader},
		{"the port with a zero", "GET /self HTTP/1.1\nHost: 127.0.0.1:0PORT", cardbroker.RuleHostHeader},
		{"an empty name", "GET /self HTTP/1.1\nHost: :PORT", cardbroker.RuleHostHeader},
		{"another loopback address", "GET /self HTTP/1.1\nHost: 127.0.0.2:PORT", cardbroker.RuleHostHeader},
		{"an address of few digits", "GET /self HTTP/1.1\nHost: 127.1:PORT", cardbroker.RuleHostHeader},
		{"a dot at the end", "GET /self HTTP/1.1\nHost: localhost.:PORT", cardbroker.RuleHostHeader},
		{"a name that ends like ours", "GET /self HTTP/1.1\nHost: x.localhost:PORT", cardbroker.RuleHostHeader},
		{"IPv6 without brackets", "GET /self HTTP/1.1\nHost: ::1:PORT", cardbroker.RuleHostHeader},
		{"IPv6 in full", "GET /self HTTP/1.1\nHost: [0:0:0:0:0:0:0:1]:PORT", cardbroker.RuleHostHeader},
		{"IPv6 with a zone", "GET /self HTTP/1.1\nHost: [::1%25lo]:PORT", cardbroker.RuleHostHeader},
		{"IPv4 in IPv6", "GET /self HTTP/1.1\nHost: [::ffff:127.0.0.1]:PORT", cardbroker.RuleHostHeader},
		{"any address", "GET /self HTTP/1.1\nHost: 0.0.0.0:PORT", cardbroker.RuleHostHeader},
		{"one number", "GET /self HTTP/1.1\nHost: 2130706433:PORT", cardbroker.RuleHostHeader},
		{"a hexadecimal number", "GET /self HTTP/1.1\nHost: 0x7f000001:PORT", cardbroker.RuleHostHeader},
		{"a name that begins like ours", "GET /self HTTP/1.1\nHost: 127.0.0.1.rebind.test:PORT", cardbroker.RuleHostHeader},
		{"two names", "GET /self HTTP/1.1\nHost: 127.0.0.1:PORT,rebind.test", cardbroker.RuleHostHeader},
		{"a name that a proxy would believe", "GET /self HTTP/1.1\nHost: rebind.test:PORT\nX-Forwarded-Host: 127.0.0.1:PORT", cardbroker.RuleHostHeader},

		// Programs of the user.
		{"a program", "GET /self HTTP/1.1", served},
		{"a program's change", "POST /self HTTP/1.1\n" + body + "\n\n{}", served},
		{"a program's change, without body", "POST /self HTTP/1.1\nContent-Length: 0", served},
		{"a program's HEAD", "HEAD /self HTTP/1.1", served},

		// Pages that say whose they are.
		{"a consented page", "GET /self HTTP/1.1\n" + from + "\n" + browser, served},
		{"a page", "GET /self HTTP/1.1\nOrigin: https://evil.example\n" + browser, cardbroker.RuleOriginUnconsented},
		{"a page, HEAD", "HEAD /self HTTP/1.1\nOrigin: https://evil.example", cardbroker.RuleOriginUnconsented},
		{"a page, public route", "GET /public HTTP/1.1\nOrigin: https://evil.example\n" + browser, served},
		{"the consented page on another port", "GET /self HTTP/1.1\n" + from + ":8443", cardbroker.RuleOriginUnconsented},
		{"the consented page with its port", "GET /self HTTP/1.1\n" + from + ":443", cardbroker.RuleOriginMalformed},
		{"the consented page in capitals", "GET /self HTTP/1.1\nOrigin: https://GOOD.example", cardbroker.RuleOriginMalformed},
		{"a domain that begins like the consented", "GET /self HTTP/1.1\n" + from + ".evil.example", cardbroker.RuleOriginUnconsented},
		{"a domain that ends like the consented", "GET /self HTTP/1.1\nOrigin: https://notgood.example", cardbroker.RuleOriginUnconsented},
		{"a domain below the consented", "GET /self HTTP/1.1\nOrigin: https://x.good.example", cardbroker.RuleOriginUnconsented},
		{"the consented domain with a dot", "GET /self HTTP/1.1\n" + from + ".", cardbroker.RuleOriginUnconsented},
		{"the consented page over http", "GET /self HTTP/1.1\nOrigin: http://good.example", cardbroker.RuleOriginUnconsented},
		{"a page that is called like us", "GET /self HTTP/1.1\nOrigin: http://127.0.0.1:PORT", cardbroker.RuleOriginUnconsented},
		{"null", "GET /self HTTP/1.1\nOrigin: null", cardbroker.RuleOriginNull},
		{"null, public route", "GET /public HTTP/1.1\nOrigin: null", cardbroker.RuleOriginNull},
		{"an empty origin", "GET /self HTTP/1.1\nOrigin:", cardbroker.RuleOriginMalformed},
		{"an origin with a path", "GET /public HTTP/1.1\n" + from + "/x", cardbroker.RuleOriginMalformed},
		{"an origin with a slash", "GET /public HTTP/1.1\n" + from + "/", cardbroker.RuleOriginMalformed},
		{"an origin with a user", "GET /public HTTP/1.1\nOrigin: https://x@good.example", cardbroker.RuleOriginMalformed},
		{"an origin without scheme", "GET /public HTTP/1.1\nOrigin: good.example", cardbroker.RuleOriginMalformed},
		{"two in one header", "GET /public HTTP/1.1\n" + from + " https://evil.example", cardbroker.RuleOriginMalformed},
		{"two headers", "GET /self HTTP/1.1\n" + from + "\nOrigin: https://evil.example", cardbroker.RuleOriginMalformed},
		{"an endless origin", "GET /public HTTP/1.1\nOrigin: https://" + strings.Repeat("x", 300), cardbroker.RuleOriginMalformed},
		{"an extension", "GET /public HTTP/1.1\nOrigin: chrome-extension://abcdef", served},

		// Event streams and WebSockets.
		{"a program's stream", "GET /push HTTP/1.1", served},
		{"a consented page's stream", "GET /push HTTP/1.1\n" + from + "\nAccept: text/event-stream\n" + browser, served},
		{"a page's stream", "GET /push HTTP/1.1\nOrigin: https://evil.example\nAccept: text/event-stream\n" + browser, cardbroker.RuleOriginUnconsented},
		{"a page's WebSocket", "GET /push HTTP/1.1\nOrigin: https://evil.example\nConnection: Upgrade\nUpgrade: websocket", cardbroker.RuleOriginUnconsented},
		{"null's WebSocket", "GET /push HTTP/1.1\nOrigin: null\nConnection: Upgrade\nUpgrade: websocket", cardbroker.RuleOriginNull},
		{"a stream without origin", "GET /push HTTP/1.1\nSec-Fetch-Site: cross-site", cardbroker.RuleSocketOrigin},
		{"our own page's stream", "GET /push HTTP/1.1\nSec-Fetch-Site: same-origin", cardbroker.RuleSocketOrigin},
		{"a stream that the user typed", "GET /push HTTP/1.1\nSec-Fetch-Site: none\nSec-Fetch-Mode: navigate", cardbroker.RuleSocketOrigin},
		{"a WebSocket without origin, elsewhere", "GET /self HTTP/1.1\nSec-Fetch-Site: same-origin\nSec-Fetch-Mode: websocket\nConnection: Upgrade\nUpgrade: websocket", cardbroker.RuleSocketOrigin},

		// Pages that hide it.
		{"a browser without origin", "GET /self HTTP/1.1\n" + browser, cardbroker.RuleFetchNoOrigin},
		{"a browser without origin, public route", "GET /public HTTP/1.1\n" + browser, cardbroker.RuleFetchNoOrigin},
		{"a browser without origin, no such route", "GET /x HTTP/1.1\n" + browser, cardbroker.RuleFetchNoOrigin},
		{"one header of a browser's", "GET /self HTTP/1.1\nsec-fetch-dest: image", cardbroker.RuleFetchNoOrigin},
		{"same site", "GET /self HTTP/1.1\nSec-Fetch-Site: same-site", cardbroker.RuleFetchNoOrigin},
		{"what was a page of our address, reading", "GET /self HTTP/1.1\nSec-Fetch-Site: same-origin", cardbroker.RuleFetchNoOrigin},
		{"the same, public route", "GET /public HTTP/1.1\nSec-Fetch-Site: same-origin", served},
		{"typed by the user, not public", "GET /self HTTP/1.1\nSec-Fetch-Site: none", cardbroker.RuleFetchNoOrigin},

		// Our own page, by the name that nobody can guess.
		{"our page reads", "GET /own HTTP/1.1\nHost: " + pageName + ":PORT\nSec-Fetch-Site: same-origin", served},
		{"our page reads, any route", "GET /self HTTP/1.1\nHost: " + pageName + ":PORT\nSec-Fetch-Site: same-origin", served},
		{"our page changes", "POST /own HTTP/1.1\nHost: " + pageName + ":PORT\nOrigin: http://" + pageName + ":PORT\n" + strings.Join([]string{token, json, body}, "\n") + "\n\n{}", served},
		{"our page, without token", "POST /own HTTP/1.1\nHost: " + pageName + ":PORT\nOrigin: http://" + pageName + ":PORT\n" + json + "\n" + body + "\n\n{}", cardbroker.RuleCSRFToken},
		{"our page on another port", "POST /own HTTP/1.1\nHost: " + pageName + ":PORT\nOrigin: http://" + pageName + ":1\n" + strings.Join([]string{token, json, body}, "\n") + "\n\n{}", cardbroker.RuleOriginUnconsented},
		{"our page over TLS", "POST /own HTTP/1.1\nHost: " + pageName + ":PORT\nOrigin: https://" + pageName + ":PORT\n" + strings.Join([]string{token, json, body}, "\n") + "\n\n{}", cardbroker.RuleOriginUnconsented},
		{"our page's name, our address", "POST /own HTTP/1.1\nOrigin: http://" + pageName + ":PORT\n" + strings.Join([]string{token, json, body}, "\n") + "\n\n{}", cardbroker.RuleOriginUnconsented},
		{"what was a page of our address, changing", "POST /own HTTP/1.1\nOrigin: http://127.0.0.1:PORT\nSec-Fetch-Site: same-origin\n" + strings.Join([]string{token, json, body}, "\n") + "\n\n{}", cardbroker.RuleOriginUnconsented},
		{"another user's page, on his own port", "POST /own HTTP/1.1\nOrigin: http://127.0.0.1:1\nSec-Fetch-Site: same-site\n" + strings.Join([]string{token, json, body}, "\n") + "\n\n{}", cardbroker.RuleOriginUnconsented},
		// A page that is a guest under a name of ours.
		{"the guest", "GET /guest HTTP/1.1\nHost: " + guestName + ":PORT\nSec-Fetch-Site: none", served},
		{"what belongs to the guest", "GET /guest HTTP/1.1\nHost: " + guestName + ":PORT\nSec-Fetch-Site: same-origin", served},
		{"the guest, by a link or redirect", "GET /guest HTTP/1.1\nHost: " + guestName + ":PORT\nSec-Fetch-Site: cross-site\nSec-Fetch-Mode: navigate\nSec-Fetch-Dest: document", served},
		{"the guest in a frame", "GET /guest HTTP/1.1\nHost: " + guestName + ":PORT\nSec-Fetch-Site: cross-site\nSec-Fetch-Mode: navigate\nSec-Fetch-Dest: iframe", cardbroker.RuleFetchNoOrigin},
		{"the guest by our name", "GET /guest HTTP/1.1", served},
		{"the guest at another port", "GET /guest HTTP/1.1\nHost: " + guestName + ":80", cardbroker.RuleHostHeader},
		{"what is public, by the guest's name", "GET /public HTTP/1.1\nHost: " + guestName + ":PORT\nSec-Fetch-Site: same-origin", cardbroker.RuleHostHeader},
		{"what is not there, by the guest's name", "GET /x HTTP/1.1\nHost: " + guestName + ":PORT", cardbroker.RuleHostHeader},
		{"a program, by the guest's name", "GET /self HTTP/1.1\nHost: " + guestName + ":PORT", cardbroker.RuleHostHeader},
		{"a consented page, by the guest's name", "GET /self HTTP/1.1\nHost: " + guestName + ":PORT\n" + from, cardbroker.RuleHostHeader},
		{"the guest's origin, by its name", "POST /own HTTP/1.1\nHost: " + guestName + ":PORT\n" + strings.Join([]string{"Origin: http://" + guestName + ":PORT", token, json, body}, "\n") + "\n\n{}", cardbroker.RuleHostHeader},
		{"the guest's origin", "GET /self HTTP/1.1\nOrigin: http://" + guestName + ":PORT", cardbroker.RuleOriginUnconsented},

		{"a consented page, what pages may not do", "POST /own HTTP/1.1\n" + strings.Join([]string{from, token, json, body}, "\n") + "\n\n{}", cardbroker.RuleOwnPage},
		{"a consented page, reading what pages may not", "GET /own HTTP/1.1\n" + from, cardbroker.RuleOwnPage},
		{"a program, what pages may not do", "POST /own HTTP/1.1\n" + body + "\n\n{}", served},
		{"our page in a frame", "GET /self HTTP/1.1\nHost: " + pageName + ":PORT\nSec-Fetch-Site: cross-site\nSec-Fetch-Mode: navigate\nSec-Fetch-Dest: iframe", cardbroker.RuleFetchNoOrigin},
		{"our page, by a link or redirect", "GET /public HTTP/1.1\nHost: " + pageName + ":PORT\nSec-Fetch-Site: cross-site\nSec-Fetch-Mode: navigate\nSec-Fetch-Dest: document", served},
		{"our page's name on another port", "GET /public HTTP/1.1\nHost: " + pageName + ":1", cardbroker.RuleHostHeader},
		{"a name like our page's", "GET /public HTTP/1.1\nHost: x" + pageName + ":PORT", cardbroker.RuleHostHeader},
		{"typed by the user", "GET /public HTTP/1.1\nSec-Fetch-Site: none", served},
		{"our own page's change", "POST /self HTTP/1.1\nSec-Fetch-Site: same-origin\n" + token + "\n" + body + "\n\n{}", cardbroker.RuleFetchNoOrigin},

		// What changes something.
		{"a page's change", "POST /self HTTP/1.1\n" + strings.Join([]string{from, token, json, body}, "\n") + "\n\n{}", served},
		{"with a character set", "POST /self HTTP/1.1\n" + strings.Join([]string{from, token, json + ";charset=utf-8", body}, "\n") + "\n\n{}", served},
		{"PATCH", "PATCH /self HTTP/1.1\n" + strings.Join([]string{from, token, json, body}, "\n") + "\n\n{}", served},
		{"without body", "POST /self HTTP/1.1\n" + strings.Join([]string{from, token, "Content-Length: 0"}, "\n"), served},
		{"without token", "POST /self HTTP/1.1\n" + strings.Join([]string{from, json, body}, "\n") + "\n\n{}", cardbroker.RuleCSRFToken},
		{"with an empty token", "POST /self HTTP/1.1\n" + strings.Join([]string{from, json, body, "X-CSRF-Token:"}, "\n") + "\n\n{}", cardbroker.RuleCSRFToken},
		{"without token or body", "POST /self HTTP/1.1\n" + from + "\nContent-Length: 0", cardbroker.RuleCSRFToken},
		{"without consent", "POST /self HTTP/1.1\nOrigin: https://evil.example\n" + strings.Join([]string{token, json, body}, "\n") + "\n\n{}", cardbroker.RuleOriginUnconsented},
		{"text", "POST /self HTTP/1.1\n" + strings.Join([]string{from, token, "Content-Type: text/plain", body}, "\n") + "\n\n{}", cardbroker.RuleMediaType},
		{"a form", "POST /self HTTP/1.1\n" + strings.Join([]string{from, token, "Content-Type: application/x-www-form-urlencoded", body}, "\n") + "\n\n{}", cardbroker.RuleMediaType},
		{"no type", "POST /self HTTP/1.1\n" + strings.Join([]string{from, token, body}, "\n") + "\n\n{}", cardbroker.RuleMediaType},
		{"a type in a parameter", "POST /self HTTP/1.1\n" + strings.Join([]string{from, token, "Content-Type: text/plain; a=application/json", body}, "\n") + "\n\n{}", cardbroker.RuleMediaType},
		{"another method in a header", "GET /self HTTP/1.1\nOrigin: https://evil.example\nX-HTTP-Method-Override: POST", cardbroker.RuleOriginUnconsented},
		{"JSON that a form can make", "POST /self HTTP/1.1\n" + strings.Join([]string{from, "Content-Type: text/plain", body}, "\n") + "\n\n{}", cardbroker.RuleCSRFToken},
		{"text, in chunks", "POST /self HTTP/1.1\n" + strings.Join([]string{from, token, "Content-Type: text/plain", "Transfer-Encoding: chunked"}, "\n") + "\n\n0\n\n", cardbroker.RuleMediaType},
	}
	var l loopback
	for i, test := range tests {
		if i%50 == 0 { // one server tells of 64 refusals at once
			l = newLoopback(t, config())
		}
		t.Run(test.name, func(t *testing.T) {
			request := test.request
			if !strings.Contains(request, "\nHost:") && !strings.Contains(request, "HTTP/1.0") {
				request = strings.Replace(request, "HTTP/1.1", "HTTP/1.1\nHost: 127.0.0.1:PORT", 1)
			}
			if !strings.Contains(request, "\n\n") {
				request += "\n\n"
			}
			request = strings.ReplaceAll(strings.ReplaceAll(request, "PORT", l.port), "\n", "\r\n")
			a := ask(t, dial(t, l.v4), request)
			told := l.refused.take()
			if test.want == served {
				if a.StatusCode != 200 || len(told) > 0 {
					t.Errorf("answered %d %s, told %q, want 200", a.StatusCode, a.text, told)
				}
			} else if !slices.Equal(told, []cardbroker.Rule{test.want}) || a.StatusCode < 400 || a.Request.Method != "HEAD" && a.error.Rule != test.want {
				t.Errorf("answered %d %s, told %q, want %s", a.StatusCode, a.text, told, test.want)
			}
			checkHeaders(t, a, request)
		})
	}
}

// checkHeaders: whatever is answered is JSON, and the page that asked can read it, if it says who it is.
func checkHeaders(t *testing.T, a answer, request string) {
	t.Helper()
	if kind := a.Header.Get("Content-Type"); kind != "application/json" && a.StatusCode != http.StatusNoContent {
		t.Errorf("the answer is %q", kind)
	}
	if a.Header.Get("X-Content-Type-Options") != "nosniff" || !slices.Contains(a.Header.Values("Vary"), "Origin") {
		t.Errorf("the headers are %v, want nosniff and Vary", a.Header)
	}
	sent, err := http.ReadRequest(bufio.NewReader(strings.NewReader(request)))
	if err != nil {
		t.Fatal(err)
	}
	want := ""
	if origin := sent.Header.Get("Origin"); len(sent.Header.Values("Origin")) == 1 && (a.StatusCode == 200 || a.error.Rule != cardbroker.RuleOriginMalformed) && origin != "null" {
		want = origin
	}
	if got := a.Header.Get("Access-Control-Allow-Origin"); got != want {
		t.Errorf("Access-Control-Allow-Origin is %q, want %q", got, want)
	}
	if got := a.Header.Get("Access-Control-Allow-Credentials"); (got == "true") != (want != "") {
		t.Errorf("Access-Control-Allow-Credentials is %q for %q", got, want)
	}
}

// TestConsentRequiresAList: a server without consent, such as the broker, serves pages its public routes alone.
func TestConsentRequiresAList(t *testing.T) {
	cfg := config()
	cfg.Consented = nil
	l := newLoopback(t, cfg)
	for path, want := range map[string]int{"/public": 200, "/self": 412} {
		a := ask(t, dial(t, l.v4), "GET "+path+" HTTP/1.1\r\nHost: "+l.v4+"\r\nOrigin: "+consented+"\r\n\r\n")
		if a.StatusCode != want {
			t.Errorf("GET %s of a page is answered %d, want %d", path, a.StatusCode, want)
		}
	}
}

// TestPreflight: a page may ask what it may ask, of any route, and gets no more than that.
func TestPreflight(t *testing.T) {
	l := newLoopback(t, config())
	const asks = "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization,content-type,x-csrf-token,x-t1c-billing-tag\r\n"
	for _, test := range []struct {
		name, target, header string
		origin               string // that is allowed
	}{
		{"a consented page", "/self", "Origin: " + consented + "\r\n" + asks, consented},
		{"another page: the answer to its request will be an error that it can read", "/self", "Origin: https://evil.example\r\n" + asks, "https://evil.example"},
		{"no such route: the same", "/x/y", "Origin: " + consented + "\r\n" + asks, consented},
		{"null", "/self", "Origin: null\r\n" + asks, ""},
		{"a page that asks for nothing in particular", "/self", "Origin: " + consented + "\r\n", consented},
		{"a page that asks for what there is not", "/self", "Origin: " + consented + "\r\nAccess-Control-Request-Method: BREW\r\n", consented},
		{"malformed", "/self", "Origin: https://good.example/\r\n" + asks, ""},
		{"a program", "/self", "", ""},
		{"the whole server", "*", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := ask(t, dial(t, l.v4), "OPTIONS "+test.target+" HTTP/1.1\r\nHost: "+l.v4+"\r\n"+test.header+"\r\n")
			if a.StatusCode != 204 || a.text != "" {
				t.Errorf("answered %d %q, want 204", a.StatusCode, a.text)
			}
			want := map[string]string{
				"Access-Control-Allow-Origin":  test.origin,
				"Access-Control-Allow-Methods": "GET, POST, PATCH",
				"Access-Control-Allow-Headers": "authorization,content-type,x-csrf-token,x-t1c-billing-tag,x-pace-pin,x-pace-can",
				"Access-Control-Max-Age":       "600",
			}
			for name, value := range want {
				if got := a.Header.Get(name); got != value {
					t.Errorf("%s is %q, want %q", name, got, value)
				}
			}
		})
	}
	// The standard library's own answer to "OPTIONS *" would come before every check.
	if a := ask(t, dial(t, l.v4), "OPTIONS * HTTP/1.1\r\nHost: rebind.test\r\n\r\n"); a.error.Rule != cardbroker.RuleHostHeader {
		t.Errorf("OPTIONS * under another name is answered %d %s", a.StatusCode, a.text)
	}
}

// TestUnknownRoutes: what is not there is said in JSON, whatever the method.
func TestUnknownRoutes(t *testing.T) {
	l := newLoopback(t, config())
	for _, line := range []string{"GET /x", "GET /", "POST /public", "DELETE /self", "GET /self/", "GET /self/x", "BREW /self", "GET //self", "GET /x/../self", "GET //evil.example/%2e%2e", "GET *", "HEAD /x", "GET /public?x=/../self/y/.."} {
		a := ask(t, dial(t, l.v4), line+" HTTP/1.1\r\nHost: "+l.v4+"\r\n\r\n")
		want := cardbroker.NotFound
		if strings.Contains(line, "?") {
			want = ""
		}
		if strings.HasPrefix(line, "HEAD") { // has no body
			a.error.Reason = map[int]cardbroker.Reason{404: cardbroker.NotFound}[a.StatusCode]
		}
		if a.error.Reason != want || a.Header.Get("Location") != "" {
			t.Errorf("%s is answered %d %s, want %q", line, a.StatusCode, a.text, want)
		}
	}
}

// TestNotHTTP: what is no request is answered or closed before any of our code sees it.
func TestNotHTTP(t *testing.T) {
	l := newLoopback(t, config())
	for _, request := range []string{
		"GET /self HTTP/1.1\r\n\r\n",                                         // no Host
		"GET /self HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: rebind.test\r\n\r\n", // two of them
		"GET /self HTTP/1.1\r\nHost: 127.0.0.1@rebind.test:" + l.port + "\r\n\r\n",
		"GET /self HTTP/1.1\r\nHost: rebind.test:80@127.0.0.1:" + l.port + "\r\n\r\n",
		"GET /self HTTP/3.0\r\nHost: 127.0.0.1\r\n\r\n",
		"\x16\x03\x01\x00\x05hello\r\n\r\n",
		"POST /self HTTP/1.1\r\nHost: " + l.v4 + "\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
		"POST /self HTTP/1.1\r\nHost: " + l.v4 + "\r\nContent-Length: -1\r\n\r\n{}",
		"GET /self HTTP/1.1\r\nHost: " + l.v4 + "\r\nOrigin : x\r\n\r\n",
	} {
		conn := dial(t, l.v4)
		conn.Write([]byte(request))
		a, err := readAnswer(bufio.NewReader(conn), "GET")
		if err == nil && (a.StatusCode < 400 || a.error.Reason != "") {
			t.Errorf("%q is answered %d %s", request, a.StatusCode, a.text)
		}
	}
	if told := l.refused.take(); len(told) > 0 {
		t.Errorf("told %q", told)
	}
}

// TestBothAddresses: [::1] is served like 127.0.0.1, each by any of the names.
func TestBothAddresses(t *testing.T) {
	l := newLoopback(t, config())
	if l.v6 == "" {
		testenv.Skip(t, "needs IPv6")
	}
	for _, address := range []string{l.v4, l.v6} {
		for _, host := range []string{l.v4, l.v6, "localhost:" + l.port} {
			if a := ask(t, dial(t, address), "GET /self HTTP/1.1\r\nHost: "+host+"\r\n\r\n"); a.StatusCode != 200 {
				t.Errorf("%s at %s is answered %d %s", host, address, a.StatusCode, a.text)
			}
		}
	}
}

// TestVirtualLoopback: a program whose loopback address was made another one, as Citrix does, is served like every other.
func TestVirtualLoopback(t *testing.T) {
	l := newLoopback(t, config())
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 1, 2, 3)}}
	conn, err := dialer.DialContext(t.Context(), "tcp", l.v4)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if a := ask(t, conn, "GET /self HTTP/1.1\r\nHost: "+l.v4+"\r\n\r\n"); a.StatusCode != 200 {
		t.Errorf("from %s: answered %d %s", conn.LocalAddr(), a.StatusCode, a.text)
	}
}

// TestPagesOnly: where policy wants no programs, they get public routes alone; pages are served as ever.
func TestPagesOnly(t *testing.T) {
	cfg := config()
	cfg.PagesOnly = true
	l := newLoopback(t, cfg)
	for _, test := range []struct {
		name, request, header string
		want                  cardbroker.Rule
	}{
		{"a program", "GET /self", "", cardbroker.RuleLocalPrograms},
		{"a program's change", "POST /self", "X-CSRF-Token: x\r\n", cardbroker.RuleLocalPrograms},
		{"a program's stream", "GET /push", "", cardbroker.RuleLocalPrograms},
		{"a program, public route", "GET /public", "", ""},
		{"a consented page", "GET /self", "Origin: " + consented + "\r\n", ""},
		{"a page", "GET /self", "Origin: https://evil.example\r\n", cardbroker.RuleOriginUnconsented},
	} {
		a := ask(t, dial(t, l.v4), test.request+" HTTP/1.1\r\nHost: "+l.v4+"\r\n"+test.header+"\r\n")
		if a.error.Rule != test.want || (a.StatusCode == 200) != (test.want == "") {
			t.Errorf("%s is answered %d %s, want %q", test.name, a.StatusCode, a.text, test.want)
		}
	}
}

// TestMethodsOfPreflight: what a page may ask for has the methods of all routes.
func TestMethodsOfPreflight(t *testing.T) {
	cfg := config()
	cfg.Routes = append(cfg.Routes, httpserver.Route{Method: "DELETE", Path: "/self", Access: httpserver.Self, Handle: cfg.Routes[0].Handle})
	l := newLoopback(t, cfg)
	a := ask(t, dial(t, l.v4), "OPTIONS /self HTTP/1.1\r\nHost: "+l.v4+"\r\nOrigin: "+consented+"\r\n\r\n")
	if got := a.Header.Get("Access-Control-Allow-Methods"); got != "GET, POST, PATCH, DELETE" {
		t.Errorf("Access-Control-Allow-Methods is %q", got)
	}
}
