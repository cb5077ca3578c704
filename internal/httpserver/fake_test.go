// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package httpserver_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/httpserver"
)

// consented is the one origin that the user has said yes to.
const consented = "https://good.example"

// pageName is the name of our own page.
const pageName = "0123456789abcdefghijklmnop.localhost"

// guestName is the name of the page that may no more than pages from elsewhere.
const guestName = "guest-0123456789abcdefghij.localhost"

// routes are one of each kind; /hang waits for its context, /big answers 1 MiB.
func routes() []httpserver.Route {
	ok := func(w http.ResponseWriter, r *http.Request) error { return httpserver.JSON(w, struct{}{}) }
	return []httpserver.Route{
		{Method: "GET", Path: "/big", Access: httpserver.Self, Handle: func(w http.ResponseWriter, r *http.Request) error {
			return httpserver.JSON(w, strings.Repeat("x", 1<<20))
		}},
		{Method: "GET", Path: "/guest", Access: httpserver.Public, Handle: ok, Guest: true},
		{Method: "GET", Path: "/hang", Access: httpserver.Self, Handle: func(w http.ResponseWriter, r *http.Request) error {
			<-r.Context().Done()
			return r.Context().Err()
		}},
		{Method: "GET", Path: "/own", Access: httpserver.Own, Handle: ok},
		{Method: "POST", Path: "/own", Access: httpserver.Own, Handle: ok},
		{Method: "GET", Path: "/public", Access: httpserver.Public, Handle: ok},
		{Method: "GET", Path: "/push", Access: httpserver.Self, Handle: ok, Pushes: true},
		{Method: "GET", Path: "/self", Access: httpserver.Self, Handle: ok},
		{Method: "PATCH", Path: "/self", Access: httpserver.Self, Handle: ok},
		{Method: "POST", Path: "/self", Access: httpserver.Self, Handle: ok},
	}
}

// config is a server's for tests: everybody may call every route.
func config() httpserver.Config {
	return httpserver.Config{
		Routes:    routes(),
		Authorize: func(*http.Request, httpserver.Access) error { return nil },
		Consented: func(origin cardbroker.Origin) bool { return origin == consented },
		Page:      pageName,
		Guest:     guestName,
		Log:       slog.New(slog.DiscardHandler),
	}
}

// served is a server that runs. stop ends it and returns what Serve does.
type served struct {
	stop    func() error
	refused *refusals
}

// serve runs a server until stop, or the end of the test.
func serve(t *testing.T, cfg httpserver.Config, listeners ...httpserver.Listener) served {
	t.Helper()
	s := served{refused: &refusals{}}
	if cfg.Refused == nil {
		cfg.Refused = s.refused.add
	}
	server := httpserver.New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, listeners...) }()
	s.stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
	return s
}

// refusals are what a server told of.
type refusals struct {
	mu   sync.Mutex
	list []httpserver.Refusal
}

func (r *refusals) add(refusal httpserver.Refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, refusal)
}

// take returns the rules of what was told since it was last called.
func (r *refusals) take() (rules []cardbroker.Rule) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, refusal := range r.list {
		rules = append(rules, cardbroker.RuleOf(refusal.Err))
	}
	r.list = nil
	return rules
}

// pipes is a listener of connections in memory, for tests of time.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

// dial connects as a user.
func (p *pipes) dial(user uint32) net.Conn {
	ours, theirs := net.Pipe()
	p.conns <- pipeConn{Conn: theirs, user: user}
	return ours
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

type pipeConn struct {
	net.Conn
	user uint32
}

// pipeKind names the user that dialled, where the real kinds ask the kernel.
type pipeKind struct{}

var _ httpserver.Kind = pipeKind{}

func (pipeKind) Attest(conn net.Conn) (httpserver.Caller, error) {
	return httpserver.Caller{User: cardbroker.UserID{UID: conn.(pipeConn).user}}, nil
}
func (pipeKind) StillThere(net.Conn) error                 { return nil }
func (pipeKind) CheckHost(string, httpserver.Caller) error { return nil }

// answer is what came back: a status, and the error if it is one.
type answer struct {
	*http.Response
	text  string
	error api.ErrorBody
}

// ask writes a whole request and reads the answer.
func ask(t *testing.T, conn io.ReadWriter, request string) answer {
	t.Helper()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	a, err := readAnswer(bufio.NewReader(conn), method)
	if err != nil {
		t.Fatalf("%.80q: %v", request, err)
	}
	return a
}

func readAnswer(r *bufio.Reader, method string) (answer, error) {
	response, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	a := answer{Response: response, text: string(text)}
	if response.StatusCode >= 400 && response.Header.Get("Content-Type") == "application/json" && err == nil && method != "HEAD" {
		err = json.Unmarshal(text, &a.error)
	}
	return a, err
}

// TestMain runs the tests, or plays the part that the environment names.
func TestMain(m *testing.M) {
	if part := os.Getenv(partVariable); part != "" {
		os.Exit(play(part))
	}
	os.Exit(m.Run())
}

// partVariable names the part that a process of this program plays.
const partVariable = "CARDBROKER_TEST_PART"

// certificate returns one for 127.0.0.1, signed by itself.
func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// nobody is a kind whose callers the kernel does not know, but for root.
type nobody struct{ pipeKind }

func (nobody) Attest(conn net.Conn) (httpserver.Caller, error) {
	if conn.(pipeConn).user == 0 {
		return httpserver.Caller{}, nil
	}
	return httpserver.Caller{}, cardbroker.Refusef(cardbroker.CallerRefused, cardbroker.RulePeerNotFound, "not there")
}
