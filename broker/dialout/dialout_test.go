// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package dialout_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/broker/dialout"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/virtualreader/rendezvous"
)

const token = "a token of enough characters"

func secret() (cardbroker.Secret, error) { return cardbroker.NewSecret([]byte(token)), nil }

func one(pair tls.Certificate) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &pair, nil }
}

// listen makes a rendezvous that knows hosts by certificates of the authority, and by the token.
func listen(t *testing.T, a *testenv.Authority, address string) *rendezvous.Rendezvous {
	t.Helper()
	r, err := rendezvous.Listen(t.Context(), rendezvous.Config{Addr: address, Certificate: one(a.Issue(t, "")), CA: a.Pool, Token: secret})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// config is that of a host that trusts the authority, and shows the token.
func config(a *testenv.Authority, address string) dialout.Config {
	return dialout.Config{URL: "wss://" + address, Tenant: "issuer", TLS: &tls.Config{RootCAs: a.Pool}, Token: secret, Host: "vda7",
		Log: slog.New(slog.DiscardHandler)}
}

// call starts a host that serves GET /hello, until stop.
func call(t *testing.T, cfg dialout.Config) (c *dialout.Caller, stop func()) {
	t.Helper()
	c, err := dialout.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	server := httpserver.New(httpserver.Config{
		Routes: []httpserver.Route{{Method: "GET", Path: "/hello", Access: httpserver.Tenant, Handle: func(w http.ResponseWriter, r *http.Request) error {
			return httpserver.JSON(w, httpserver.CallerOf(r.Context()).User.SID)
		}}},
		Authorize: func(*http.Request, httpserver.Access) error { return nil },
		MaxConns:  dialout.MaxConns,
		PerSecond: dialout.MaxConns, // as the broker's
		Log:       cfg.Log,
	})
	group := run.New(t.Context())
	group.Go("host", func(ctx context.Context) error { return c.Serve(ctx, server) })
	stop = func() {
		if err := group.Stop(); err != nil {
			t.Errorf("Serve = %v", err)
		}
	}
	t.Cleanup(stop)
	return c, stop
}

// within is a context for what must not take long.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// receive waits for what a goroutine says.
func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-within(t).Done():
		t.Fatal("nothing came")
	}
	panic("BUG: Fatal returned")
}

// hello asks the host over a new connection.
func hello(t *testing.T, r *rendezvous.Rendezvous, host string) string {
	t.Helper()
	conn, err := r.Dial(within(t), host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	text, err := ask(conn)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// ask asks the host over a connection, and returns what it answers.
func ask(conn net.Conn) (string, error) {
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		return "", err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("the host answered %s", response.Status)
	}
	return strings.TrimSpace(string(text)), err
}

// until waits until the host's check is as wanted.
func until(t *testing.T, c *dialout.Caller, status, detail string) {
	t.Helper()
	ctx := within(t)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		check := c.Check(0)
		if check.Status == status && strings.Contains(check.Detail, detail) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the check is %+v, want %s with %q", check, status, detail)
		}
	}
}

// TestCall: a host calls, by token or certificate; it is asked over connections of its own making, and calls again when the
// rendezvous was away.
func TestCall(t *testing.T) {
	a := testenv.NewAuthority(t)
	for _, test := range []struct {
		name, host string
		change     func(*dialout.Config)
	}{
		{"by token", "vda7", func(*dialout.Config) {}},
		{"by certificate", "vda8.example", func(c *dialout.Config) {
			pair := a.Issue(t, "VDA8.example")
			c.Token, c.TLS.Certificates = nil, []tls.Certificate{pair}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := listen(t, a, "127.0.0.1:0")
			cfg := config(a, r.Addr().String())
			test.change(&cfg)
			c, stop := call(t, cfg)
			for range 2 {
				hosts, err := r.Beyond(within(t), nil)
				if err != nil || !slices.Equal(hosts, []string{test.host}) {
					t.Fatalf("Beyond = %q, %v, want %s", hosts, err, test.host)
				}
				for range 3 {
					if got := hello(t, r, test.host); got != `"rendezvous"` {
						t.Errorf("who asks is %s, want the rendezvous", got)
					}
				}
				until(t, c, "ok", "of tenant issuer")
				r.Close()
				until(t, c, "fail", "no connection")
				r = listen(t, a, r.Addr().String())
			}
			began := time.Now()
			stop()
			if d := time.Since(began); d > 3*time.Second {
				t.Errorf("the host took %v to stop", d)
			}
		})
	}
}

// TestAsManyAsThereMayBe: a rendezvous gets all its connections, and an answer on each, as fast as it asks for them: what a host was asked to
// bring is not too much of that host.
func TestAsManyAsThereMayBe(t *testing.T) {
	a := testenv.NewAuthority(t)
	r := listen(t, a, "127.0.0.1:0")
	call(t, config(a, r.Addr().String()))
	if _, err := r.Beyond(within(t), nil); err != nil {
		t.Fatal(err)
	}
	group := run.New(within(t))
	for range 16 { // not all handshakes at a time: they have a deadline
		group.Go("dial", func(ctx context.Context) error {
			for range dialout.MaxConns / 16 {
				conn, err := r.Dial(ctx, "vda7")
				if err != nil {
					return err
				}
				t.Cleanup(func() { conn.Close() })
				if _, err := ask(conn); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

// TestAsOftenAsWanted: a program that opens connections one after the other, and closes them, as fast as it can, has all of them: a
// rendezvous asks no more often than its hosts bear. They cut its call, and were gone for all its back ends.
func TestAsOftenAsWanted(t *testing.T) {
	a := testenv.NewAuthority(t)
	r := listen(t, a, "127.0.0.1:0")
	call(t, config(a, r.Addr().String()))
	if _, err := r.Beyond(within(t), nil); err != nil {
		t.Fatal(err)
	}
	for n := range 2*dialout.MaxConns + 128 {
		conn, err := r.Dial(within(t), "vda7")
		if err != nil {
			t.Fatalf("connection %d: %v", n, err)
		}
		conn.Close()
	}
}

// TestRefusedHosts: a host that is not known is told so, and says so to its administrator.
func TestRefusedHosts(t *testing.T) {
	a := testenv.NewAuthority(t)
	r := listen(t, a, "127.0.0.1:0")
	for name, change := range map[string]func(*dialout.Config){
		"another token": func(c *dialout.Config) {
			c.Token = func() (cardbroker.Secret, error) {
				return cardbroker.NewSecret([]byte("another token of enough characters")), nil
			}
		},
		"nothing": func(c *dialout.Config) { c.Token = nil },
		"a stranger's certificate": func(c *dialout.Config) {
			c.Token, c.TLS.Certificates = nil, []tls.Certificate{testenv.NewAuthority(t).Issue(t, "vda7")}
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(a, r.Addr().String())
			change(&cfg)
			c, _ := call(t, cfg)
			until(t, c, "fail", "no connection")
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if hosts, err := r.Beyond(ctx, nil); err == nil {
				t.Errorf("Beyond = %q, want none", hosts)
			}
		})
	}
}

// TestStrangers: who does not prove to be the rendezvous gets nothing of the host, least of all its token.
func TestStrangers(t *testing.T) {
	a := testenv.NewAuthority(t)
	for name, pair := range map[string]tls.Certificate{
		"another authority's": testenv.NewAuthority(t).Issue(t, ""),
		"another name's":      a.Issue(t, "other.example"),
		"a client's":          a.Issue(t, "", x509.ExtKeyUsageClientAuth),
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := httpserver.Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			read := make(chan int, 1)
			group := run.New(t.Context())
			group.Go("stranger", func(context.Context) error {
				conn, err := listener.Accept()
				if err != nil {
					return err
				}
				defer conn.Close()
				n, _ := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{pair}}).Read(make([]byte, 1))
				read <- n
				return nil
			})
			c, _ := call(t, config(a, listener.Addr().String()))
			if n := receive(t, read); n != 0 {
				t.Error("the host has said something")
			}
			until(t, c, "fail", "no connection")
			group.Stop()
		})
	}
}

// TestOldTLS: TLS before 1.3 is not spoken.
func TestOldTLS(t *testing.T) {
	a := testenv.NewAuthority(t)
	listener, err := httpserver.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	failed := make(chan error, 1)
	group := run.New(t.Context())
	defer group.Stop()
	group.Go("old", func(ctx context.Context) error {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		defer conn.Close()
		failed <- tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{a.Issue(t, "")}, MaxVersion: tls.VersionTLS12}).HandshakeContext(ctx)
		return nil
	})
	cfg := config(a, listener.Addr().String())
	cfg.TLS.MinVersion = tls.VersionTLS12
	call(t, cfg)
	if err := receive(t, failed); err == nil {
		t.Error("the host speaks TLS 1.2")
	}
}

// TestProxy: through a proxy, which sees neither token nor certificate; and one that says no.
func TestProxy(t *testing.T) {
	a := testenv.NewAuthority(t)
	r := listen(t, a, "127.0.0.1:0")
	for name, status := range map[string]string{"that lets through": "200 OK", "that does not": "403 Forbidden"} {
		t.Run(name, func(t *testing.T) {
			proxy, err := httpserver.Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			group := run.New(t.Context())
			var passed atomic.Int32
			group.Go("proxy", func(context.Context) error {
				for {
					conn, err := proxy.Accept()
					if err != nil {
						return nil
					}
					group.Go("pass", func(ctx context.Context) error { return pass(ctx, conn, status, &passed) })
				}
			})
			t.Cleanup(func() { proxy.Close(); group.Stop() })
			cfg := config(a, r.Addr().String())
			cfg.Proxy = "http://" + proxy.Addr().String()
			c, _ := call(t, cfg)
			if status != "200 OK" {
				until(t, c, "fail", "no connection")
				return
			}
			if _, err := r.Beyond(within(t), nil); err != nil {
				t.Fatal(err)
			}
			hello(t, r, "vda7")
			if passed.Load() != 2 {
				t.Errorf("%d connections went through the proxy, want the call and one more", passed.Load())
			}
		})
	}
}

// pass is a proxy's work for one connection.
func pass(ctx context.Context, conn net.Conn, status string, passed *atomic.Int32) error {
	defer conn.Close()
	in := bufio.NewReader(conn)
	request, err := http.ReadRequest(in)
	if err != nil || request.Method != http.MethodConnect || len(request.Header) > 0 {
		return err
	}
	if status != "200 OK" {
		_, err := io.WriteString(conn, "HTTP/1.1 "+status+"\r\nContent-Length: 0\r\n\r\n")
		return err
	}
	var dialer net.Dialer
	dialer.SetMultipathTCP(false)
	to, err := dialer.DialContext(ctx, "tcp", request.Host)
	if err != nil {
		return err
	}
	defer to.Close()
	passed.Add(1)
	if _, err := io.WriteString(conn, "HTTP/1.1 "+status+"\r\n\r\n"); err != nil {
		return err
	}
	both := run.New(ctx)
	defer context.AfterFunc(both.Context(), func() { conn.Close(); to.Close() })()
	both.Go("there", func(context.Context) error { io.Copy(to, in); return io.EOF })
	both.Go("back", func(context.Context) error { io.Copy(conn, to); return io.EOF })
	both.Wait()
	return nil
}

// TestNextWait: a rendezvous that is away is called less and less often; one that was of use is called again soon, as long as leases wait for
// their back ends: wherever in that minute it is there again, there is time left for them to come back.
func TestNextWait(t *testing.T) {
	wait := time.Duration(0)
	for _, want := range []time.Duration{500e6, 1e9, 2e9, 4e9, 8e9, 16e9, 32e9, 60e9, 60e9} {
		if wait = dialout.NextWait(wait, time.Hour); wait != want {
			t.Errorf("the next wait is %v, want %v", wait, want)
		}
	}
	wait = 0
	for since := time.Duration(0); since < time.Minute; since += wait + wait/2 {
		if wait = dialout.NextWait(wait, since); wait < 500*time.Millisecond || wait > 2*time.Second {
			t.Errorf("%v after a good call the wait is %v, want half a second to two", since, wait)
		}
	}
	if got := dialout.NextWait(wait, time.Minute); got != 2*wait {
		t.Errorf("then the wait is %v, want %v", got, 2*wait)
	}
}

// TestNewRefuses: what is no rendezvous, or no proxy.
func TestNewRefuses(t *testing.T) {
	a := testenv.NewAuthority(t)
	for _, change := range []func(*dialout.Config){
		func(c *dialout.Config) { c.URL = "ws://b:1" },
		func(c *dialout.Config) { c.URL = "wss://" },
		func(c *dialout.Config) { c.URL = "wss://b/path" },
		func(c *dialout.Config) { c.URL = "wss://me@b" },
		func(c *dialout.Config) { c.Proxy = "https://p" },
		func(c *dialout.Config) { c.Proxy = "p:1" },
	} {
		cfg := config(a, "b:1")
		change(&cfg)
		if _, err := dialout.New(cfg); cardbroker.ReasonOf(err) != cardbroker.Invalid {
			t.Errorf("New(%s, %s) = %v, want invalid", cfg.URL, cfg.Proxy, err)
		}
	}
}
