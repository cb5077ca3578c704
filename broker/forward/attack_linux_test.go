// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package forward_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cardbroker/cardbroker/broker/forward"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/peer"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/internal/testenv"
)

// Two users of the host who need no account.
const (
	alice = 61001
	bob   = 61002
)

// victim is a forwarder under attack: behind it is an agent for each user, which signs what it is sent. It stands still where
// an attack hurts most.
type victim struct {
	address string
	signed  chan string   // "UID TEXT": what was signed, for whom
	taken   chan struct{} // a connection was taken
	attend  func()        // lets it accept
	pass    func()        // lets it pass bytes on
	end     func()        // ends it and waits
}

func newVictim(t *testing.T) (v victim, listener net.Listener, pass chan struct{}) {
	t.Helper()
	inner, err := httpserver.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	attend, pass := make(chan struct{}), make(chan struct{})
	v = victim{address: inner.Addr().String(), signed: make(chan string, 4), taken: make(chan struct{}, 4)}
	v.attend = sync.OnceFunc(func() { close(attend) })
	v.pass = sync.OnceFunc(func() { close(pass) })
	return v, gated{inner, attend}, pass
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

// naive accepts, reads what it is to forward, and then finds out for whom: by who has the client's port now, or by header.
func naive(byHeader bool) func(t *testing.T) victim {
	return func(t *testing.T) victim {
		v, listener, pass := newVictim(t)
		group := run.New(context.Background())
		group.Go("accept", func(context.Context) error {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return nil
				}
				group.Go("conn", func(context.Context) error {
					defer conn.Close()
					v.taken <- struct{}{}
					<-pass
					in := bufio.NewReader(conn)
					request, _ := in.ReadString('\n')
					who := ownerOf(conn.RemoteAddr().String())
					if header, ok := strings.CutPrefix(request, "Forwarded-For: "); byHeader && ok {
						who = strings.TrimSpace(header)
					}
					v.signed <- who + " " + strings.TrimSpace(request)
					return nil
				})
			}
		})
		v.end = sync.OnceFunc(func() { listener.Close(); v.attend(); v.pass(); group.Wait() })
		t.Cleanup(v.end)
		return v
	}
}

// ownerOf returns the uid of the first socket with that local port, as one would read it from the kernel's table.
func ownerOf(address string) string {
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return err.Error()
	}
	_, port, _ := net.SplitHostPort(address)
	var n int
	fmt.Sscan(port, &n)
	for line := range strings.Lines(string(table)) {
		if fields := strings.Fields(line); strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", n)) {
			return fields[7]
		}
	}
	return "nobody"
}

// ours is the server that the broker forwards with, and the splice.
func ours(t *testing.T) victim {
	v, listener, pass := newVictim(t)
	kernel := peer.NewKernel()
	splicer := forward.New()
	server := httpserver.New(httpserver.Config{
		Authorize: func(*http.Request, httpserver.Access) error { return nil },
		Take: func(ctx context.Context, conn *httpserver.Conn) error {
			v.taken <- struct{}{}
			<-pass
			leg, agent := pair(t)
			group := run.New(ctx)
			group.Go("splice", func(ctx context.Context) error { splicer.Splice(ctx, conn, leg); return nil })
			if request, _ := bufio.NewReader(agent).ReadString('\n'); request != "" { // signed for whom the agent is told
				v.signed <- conn.Caller().User.String() + " " + strings.TrimSpace(request)
			}
			agent.Close()
			return group.Wait()
		},
		Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(context.Background())
	group := run.New(ctx)
	group.Go("serve", func(ctx context.Context) error {
		return server.Serve(ctx, httpserver.Listener{Listener: listener, Kind: httpserver.Loopback{Kernel: kernel}})
	})
	v.end = sync.OnceFunc(func() { v.attend(); v.pass(); cancel(); group.Wait(); kernel.Close() })
	t.Cleanup(v.end)
	return v
}

// dial connects as a user, from a port of his own choice or any.
func dial(t *testing.T, uid uint32, from, to string) *net.TCPConn {
	t.Helper()
	dialer := net.Dialer{}
	dialer.SetMultipathTCP(false)
	if from != "" {
		address, err := net.ResolveTCPAddr("tcp4", from)
		if err != nil {
			t.Fatal(err)
		}
		dialer.LocalAddr = address
	}
	var conn net.Conn
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
		const same = ^uintptr(0)
		_, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, same, uintptr(uid), same)
		if errno != 0 {
			done <- errno
			return
		}
		var err error
		conn, err = dialer.DialContext(t.Context(), "tcp4", to)
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatalf("uid %d cannot connect: %v", uid, err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}

// quiet returns an address whose port nobody gets by chance.
func quiet(t *testing.T) string {
	t.Helper()
	for range 100 {
		l, err := httpserver.Listen(t.Context(), "tcp4", fmt.Sprintf("127.0.0.1:%d", 10000+rand.N(14000)))
		if err == nil {
			l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no port is free")
	return ""
}

// leave resets a connection.
func leave(conn *net.TCPConn) {
	conn.SetLinger(0)
	conn.Close()
}

// TestAttacks runs each attack against a naive forwarder, which shows that it is one, and against ours. Nothing that bob sends
// may be signed for alice, and nothing of a connection that has ended for anybody.
func TestAttacks(t *testing.T) {
	testenv.Root(t)
	takeover := func(t *testing.T, v victim, bobs *net.TCPConn) {
		leave(bobs)
		io.WriteString(dial(t, alice, bobs.LocalAddr().String(), v.address), "hers\n")
		v.attend()
		<-v.taken
		v.pass()
	}
	for _, attack := range []struct {
		name  string
		naive func(*testing.T) victim
		stage func(t *testing.T, v victim)
		fools string // what the naive one signs
		want  string // all that ours signs
	}{
		{"none", naive(false), func(t *testing.T, v victim) {
			v.attend()
			io.WriteString(dial(t, alice, quiet(t), v.address), "sign\n")
			v.pass()
		}, "61001 sign", "61001 sign"},
		{"bob sends, resets, and alice gets his port before he is accepted", naive(false), func(t *testing.T, v victim) {
			bobs := dial(t, bob, quiet(t), v.address)
			io.WriteString(bobs, "sign\n")
			takeover(t, v, bobs)
		}, "61001 sign", "61001 hers"},
		{"bob sends, resets, and alice gets his port before he is forwarded", naive(false), func(t *testing.T, v victim) {
			v.attend()
			bobs := dial(t, bob, quiet(t), v.address)
			io.WriteString(bobs, "sign\n")
			<-v.taken
			takeover(t, v, bobs)
		}, "61001 sign", "61001 hers"},
		{"bob says that he forwards for alice", naive(true), func(t *testing.T, v victim) {
			v.attend()
			io.WriteString(dial(t, bob, "", v.address), "Forwarded-For: 61001\n")
			v.pass()
		}, "61001 Forwarded-For: 61001", "61002 Forwarded-For: 61001"},
	} {
		t.Run(attack.name, func(t *testing.T) {
			v := attack.naive(t)
			attack.stage(t, v)
			fooled := false
			for range cap(v.signed) {
				if fooled = <-v.signed == attack.fools; fooled {
					break
				}
			}
			v.end()
			if !fooled {
				t.Errorf("naive: never signed %q: the attack is not what it was", attack.fools)
			}
			v = ours(t)
			attack.stage(t, v)
			if got := <-v.signed; got != attack.want {
				t.Errorf("ours: signed %q, want %q", got, attack.want)
			}
			v.end()
			if len(v.signed) > 0 {
				t.Errorf("ours: signed %q, too", <-v.signed)
			}
		})
	}
}
