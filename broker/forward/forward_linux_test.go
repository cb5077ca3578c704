// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package forward_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker/broker/forward"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/peer"
	"github.com/cardbroker/cardbroker/internal/run"
)

// browser is the broker's end of a browser's connection.
type browser struct {
	*net.TCPConn
	stream net.Conn
}

func (b browser) Stream() net.Conn  { return b.stream }
func (b browser) StillThere() error { return peer.Established(b.TCPConn) }

// joint is a browser and an agent that are joined.
type joint struct {
	tcp     *net.TCPConn // below the browser's end
	browser net.Conn
	agent   *net.UnixConn
	ended   chan struct{}
	end     func()
}

// join joins a browser that speaks TLS, or not, with an agent.
func join(t testing.TB, secure bool) *joint {
	t.Helper()
	listener, err := httpserver.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var dialer net.Dialer
	dialer.SetMultipathTCP(false)
	client, err := dialer.DialContext(t.Context(), "tcp4", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	j := &joint{tcp: client.(*net.TCPConn), browser: client, ended: make(chan struct{})}
	end := browser{accepted.(*net.TCPConn), accepted}
	if secure {
		end.stream = tls.Server(accepted, serverTLS(t))
		j.browser = tls.Client(client, &tls.Config{InsecureSkipVerify: true})
	}
	leg, agent := pair(t)
	j.agent = agent
	ctx, cancel := context.WithCancel(context.Background())
	group := run.New(ctx)
	group.Go("splice", func(ctx context.Context) error {
		defer close(j.ended)
		forward.New().Splice(ctx, end, leg)
		return nil
	})
	j.end = cancel
	t.Cleanup(func() {
		cancel()
		group.Wait()
		client.Close()
		agent.Close()
	})
	return j
}

func serverTLS(t testing.TB) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, SessionTicketsDisabled: true}
}

// pair returns two ends of a local connection.
func pair(t testing.TB) (a, b *net.UnixConn) {
	t.Helper()
	path := t.TempDir() + "/s"
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	dialed, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return dialed.(*net.UnixConn), accepted.(*net.UnixConn)
}

// both runs a test with TLS and without.
func both(t *testing.T, test func(t *testing.T, secure bool)) {
	t.Run("tls", func(t *testing.T) { test(t, true) })
	t.Run("plain", func(t *testing.T) { test(t, false) })
}

// await waits until a splice has ended.
func (j *joint) await(t *testing.T) {
	t.Helper()
	select {
	case <-j.ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the splice goes on")
	}
}

// TestBytesBothWays copies messages of many lengths, small after large and large after small, at the same time.
func TestBytesBothWays(t *testing.T) {
	both(t, func(t *testing.T, secure bool) {
		j := join(t, secure)
		var sent [2][]byte
		group := run.New(t.Context())
		for i, ends := range [2][2]net.Conn{{j.browser, j.agent}, {j.agent, j.browser}} {
			for _, n := range []int{1, 1023, 1024, 1025, 7, 16 << 10, 1, 300_000, 1 << 10, 2} {
				sent[i] = append(sent[i], bytes.Repeat([]byte{byte(n)}, n)...)
			}
			group.Go("write", func(context.Context) error {
				_, err := io.Copy(struct{ io.Writer }{ends[0]}, bytes.NewReader(sent[i]))
				return err
			})
			group.Go("read", func(context.Context) error {
				got := make([]byte, len(sent[i]))
				if _, err := io.ReadFull(ends[1], got); err != nil {
					return err
				}
				if !bytes.Equal(got, sent[i]) {
					t.Errorf("direction %d: other bytes arrived than were sent", i)
				}
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			t.Error(err)
		}
	})
}

// TestAgentCloses has an agent answer and close while the browser still sends: the browser gets the whole answer, then the end.
func TestAgentCloses(t *testing.T) {
	both(t, func(t *testing.T, secure bool) {
		j := join(t, secure)
		answer := strings.Repeat("no ", 50_000)
		group := run.New(t.Context())
		group.Go("browser", func(context.Context) error {
			for {
				if _, err := j.browser.Write(make([]byte, 4<<10)); err != nil {
					return nil
				}
			}
		})
		io.ReadFull(j.agent, make([]byte, 4<<10))
		io.WriteString(j.agent, answer)
		j.agent.Close()
		got, err := io.ReadAll(io.LimitReader(j.browser, int64(len(answer))))
		if string(got) != answer {
			t.Errorf("the browser got %d bytes, %v, want all %d of the answer", len(got), err, len(answer))
		}
		j.await(t)
		j.browser.Close()
		group.Wait()
	})
}

// TestBrowserCloses has a browser close, properly and by a reset: the agent sees the end.
func TestBrowserCloses(t *testing.T) {
	both(t, func(t *testing.T, secure bool) {
		for name, leave := range map[string]func(j *joint){
			"properly": func(j *joint) { j.browser.Close() },
			"abruptly": func(j *joint) { j.tcp.Close() },
			"by reset": func(j *joint) { j.tcp.SetLinger(0); j.tcp.Close() },
		} {
			j := join(t, secure)
			io.WriteString(j.browser, "GET")
			io.ReadFull(j.agent, make([]byte, 3))
			leave(j)
			if n, err := j.agent.Read(make([]byte, 1)); n != 0 || err == nil {
				t.Errorf("%s: the agent read %d bytes, %v, want an end", name, n, err)
			}
			if err := peer.Joined(j.agent); err == nil {
				t.Errorf("%s: Joined = nil, want the browser gone", name)
			}
			j.agent.Close()
			j.await(t)
		}
	})
}

// TestNothingOfTheGone has a browser send and leave before anything was read: what it sent stays where it is.
func TestNothingOfTheGone(t *testing.T) {
	listener, err := httpserver.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for name, leave := range map[string]func(*net.TCPConn){
		"properly": func(c *net.TCPConn) { c.Close() },
		"by half":  func(c *net.TCPConn) { c.CloseWrite() },
		"by reset": func(c *net.TCPConn) { c.SetLinger(0); c.Close() },
	} {
		var dialer net.Dialer
		dialer.SetMultipathTCP(false)
		client, err := dialer.DialContext(t.Context(), "tcp4", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		accepted, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(client, "POST /sign")
		leave(client.(*net.TCPConn))
		leg, agent := pair(t)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second) // it ends at once, unless it passes something on
		forward.New().Splice(ctx, browser{accepted.(*net.TCPConn), accepted}, leg)
		cancel()
		if got, _ := io.ReadAll(agent); len(got) > 0 {
			t.Errorf("left %s: the agent read %q", name, got)
		}
		agent.Close()
	}
}

// TestJoinedWithBytesUnread: who has sent something and gone is gone.
func TestJoinedWithBytesUnread(t *testing.T) {
	a, b := pair(t)
	defer b.Close()
	if err := peer.Joined(b); err != nil {
		t.Errorf("Joined = %v, want nil while both ends are open", err)
	}
	io.WriteString(a, "x")
	if err := peer.Joined(b); err != nil {
		t.Errorf("Joined = %v, want nil with a byte unread", err)
	}
	a.CloseWrite()
	if err := peer.Joined(b); err == nil {
		t.Error("Joined = nil, though the other end is closed behind a byte")
	}
	a.Close()
}

// TestContextEnds ends splices from outside, whatever they do.
func TestContextEnds(t *testing.T) {
	both(t, func(t *testing.T, secure bool) {
		j := join(t, secure)
		j.end()
		j.await(t)
		if _, err := j.agent.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the agent's end: %v, want an end", err)
		}
	})
}

// TestNoLeaks joins and ends many in all ways and counts goroutines.
func TestNoLeaks(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("many", func(t *testing.T) {
		for i := range 60 {
			j := join(t, i%2 == 0)
			switch i % 5 {
			case 0:
				j.agent.Close()
			case 1:
				j.browser.Close()
				j.agent.Close()
			case 2:
				j.tcp.SetLinger(0)
				j.tcp.Close()
			case 3:
				j.end()
			case 4:
				io.WriteString(j.tcp, "x")
				j.agent.Close()
				j.tcp.Close()
			}
			j.await(t)
		}
	})
	deadline := time.After(20 * time.Second)
	for runtime.NumGoroutine() > before {
		select {
		case <-deadline:
			t.Fatalf("%d goroutines, want %d", runtime.NumGoroutine(), before)
		default:
			runtime.Gosched()
		}
	}
}
