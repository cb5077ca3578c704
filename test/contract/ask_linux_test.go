// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package contract_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/test/openapi"
)

// asked is one server of a host.
type asked struct {
	*host
	name    string // its tag in the document
	address string
}

// option changes a request.
type option func(*http.Request)

func header(name, value string) option { return func(r *http.Request) { r.Header.Set(name, value) } }

func body(text string) option {
	return func(r *http.Request) {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }
	}
}

// garbled has a body that is none.
func garbled(r *http.Request) { r.TransferEncoding = []string{"garbled"} }

// websocket asks for one, of a subprotocol if it is not empty.
func websocket(subprotocol string) option {
	return func(r *http.Request) {
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "websocket")
		r.Header.Set("Sec-WebSocket-Version", "13")
		r.Header.Set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
		if subprotocol != "" {
			r.Header.Set("Sec-WebSocket-Protocol", subprotocol)
		}
	}
}

// answer is what a server said, held against the document already.
type answer struct {
	t      *testing.T
	status int
	header http.Header
	body   []byte
	reason cardbroker.Reason // of an error
	conn   net.Conn          // of a stream that goes on
	rest   *bufio.Reader
}

// ask sends a request as ourselves.
func (s asked) ask(method, path string, options ...option) answer {
	s.t.Helper()
	request, sent := s.request(method, path, options)
	conn := s.dial()
	if len(request.TransferEncoding) > 0 {
		io.WriteString(conn, method+" "+path+" HTTP/1.1\r\nHost: "+s.address+"\r\nTransfer-Encoding: chunked\r\n")
		request.Header.Write(conn)
		io.WriteString(conn, "\r\nno chunk\r\n")
	} else {
		go request.Write(conn) // it may be answered before its end
	}
	return s.read(request, sent, conn)
}

// patiently is ask, as often as it takes until the user has not asked too much.
func (s asked) patiently(method, path string, options ...option) answer {
	s.t.Helper()
	pace := time.NewTicker(20 * time.Millisecond)
	defer pace.Stop()
	a := s.ask(method, path, options...)
	for ; a.status == http.StatusTooManyRequests; a = s.ask(method, path, options...) {
		<-pace.C
	}
	return a
}

// request returns the request, and its body for the checker.
func (s asked) request(method, path string, options []option) (*http.Request, []byte) {
	s.t.Helper()
	request, err := http.NewRequest(method, "http://"+s.address+path, nil)
	s.check(err)
	if s.name == "door" {
		request.Header.Set("Authorization", "Bearer "+tenantToken)
	}
	for _, change := range options {
		change(request)
	}
	var sent []byte
	if request.GetBody != nil {
		again, _ := request.GetBody()
		sent, _ = io.ReadAll(again)
	}
	return request, sent
}

func (s asked) dial() net.Conn {
	s.t.Helper()
	var conn net.Conn
	var err error
	if s.name == "door" {
		conn, err = tls.Dial("tcp", s.address, s.tls)
	} else {
		conn, err = net.Dial("tcp", s.address)
	}
	s.check(err)
	s.t.Cleanup(func() { conn.Close() })
	return conn
}

// read reads the answer from conn and holds it against the document.
func (s asked) read(request *http.Request, sent []byte, conn io.Reader) answer {
	s.t.Helper()
	a := answer{t: s.t, rest: bufio.NewReader(conn)}
	response, err := http.ReadResponse(a.rest, request)
	if err != nil {
		s.t.Fatalf("%s: %s %s: %v", s.name, request.Method, request.URL.Path, err)
	}
	a.status, a.header = response.StatusCode, response.Header
	a.conn, _ = conn.(net.Conn)
	if stream := response.Header.Get("Content-Type") == "text/event-stream"; stream {
		a.rest = bufio.NewReader(response.Body)
	} else if a.status != http.StatusSwitchingProtocols {
		a.body, err = io.ReadAll(response.Body)
		s.check(err)
		if a.conn != nil {
			a.conn.Close()
		}
	}
	if a.status >= 400 {
		var e api.ErrorBody
		json.Unmarshal(a.body, &e)
		a.reason = e.Reason
	}
	err = s.checker.Check(openapi.Exchange{Server: s.name, Request: request, Sent: sent, Response: response, Received: a.body})
	if err != nil {
		s.t.Error(err)
	}
	return a
}

// flood has requests come over several connections until stop, more than the server lets one user have: nobody waits for an answer or looks at
// one, so that this side is the faster one.
func (s asked) flood() (stop func()) {
	s.t.Helper()
	var text bytes.Buffer
	request, _ := s.request("GET", "/x", nil)
	for range 100 {
		request.Write(&text)
	}
	group := run.New(s.t.Context())
	for range 2 {
		conn := s.dial()
		group.Go("send", func(ctx context.Context) error {
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			for ctx.Err() == nil {
				if _, err := conn.Write(text.Bytes()); err != nil {
					break
				}
			}
			return nil
		})
		group.Go("drop", func(context.Context) error {
			io.Copy(io.Discard, conn)
			return nil
		})
	}
	return func() { group.Stop() }
}

// want checks status and reason.
func (a answer) want(status int, reason cardbroker.Reason) answer {
	a.t.Helper()
	if a.status != status || a.reason != reason {
		a.t.Errorf("answered %d %s, want %d %s", a.status, a.body, status, reason)
	}
	return a
}

// into decodes the answer.
func (a answer) into(v any) {
	a.t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		a.t.Fatal(err)
	}
}

// stranger is a user of the host who needs no account.
const stranger = 61002

// fetchVariable makes this program send its standard input to the address that it holds, and write what comes back.
const fetchVariable = "CARDBROKER_TEST_FETCH"

// askAsStranger sends a request as another user of the host; the caller has checked that we may.
func (s asked) askAsStranger(method, path string, options ...option) answer {
	s.t.Helper()
	request, sent := s.request(method, path, options)
	request.Header.Set("Connection", "close")
	var text, out bytes.Buffer
	s.check(request.Write(&text))
	cmd := exec.Command(testenv.Self())
	cmd.Env = append(os.Environ(), fetchVariable+"="+s.address, "GORACE=atexit_sleep_ms=0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: stranger, Gid: stranger}}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = &text, &out, os.Stderr
	s.check(cmd.Run())
	return s.read(request, sent, &out)
}

func fetch(address string) int {
	conn, err := net.Dial("tcp", address)
	if err == nil {
		_, err = io.Copy(conn, os.Stdin)
	}
	if err == nil {
		_, err = io.Copy(os.Stdout, conn)
	}
	if err != nil {
		io.WriteString(os.Stderr, err.Error()+"\n")
		return 1
	}
	return 0
}
