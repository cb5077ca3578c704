// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package peer_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/peer"
	"github.com/cardbroker/cardbroker/internal/testenv"
)

// server is a listener of ours that users connect to.
type server struct {
	t testing.TB
	*net.TCPListener
}

func newServer(t testing.TB, address string) server {
	t.Helper()
	var c net.ListenConfig
	c.SetMultipathTCP(false)
	l, err := c.Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return server{t: t, TCPListener: l.(*net.TCPListener)}
}

func (s server) accept() *net.TCPConn {
	s.t.Helper()
	conn, err := s.AcceptTCP()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	return conn
}

func newKernel(t testing.TB) *peer.Kernel {
	k := peer.NewKernel()
	t.Cleanup(k.Close)
	return k
}

// naive is how one would ask for a caller without knowing better: who has the socket with this local port?
func naive(t testing.TB, conn *net.TCPConn) string {
	t.Helper()
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	port := fmt.Sprintf(":%04X", conn.RemoteAddr().(*net.TCPAddr).Port)
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); strings.HasSuffix(f[1], port) {
			return f[7]
		}
	}
	return "nobody"
}

// quietPort returns an address with a port that is free, and that nobody else on this machine gets by chance once it is free
// again: the kernel deals out ports from 32768 on, and agents listen from 24800 on.
func quietPort(t *testing.T) string {
	t.Helper()
	var plain net.ListenConfig
	plain.SetMultipathTCP(false)
	for range 100 {
		l, err := plain.Listen(t.Context(), "tcp4", fmt.Sprintf("127.0.0.1:%d", 10000+rand.N(14000)))
		if err == nil {
			l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no port is free")
	return ""
}

// attack makes connections to s and returns those that the server has accepted, each with what Attest must say of it.
type attack struct {
	name  string
	fools bool // naive says something else of at least one connection; where false, it may
	stage func(t *testing.T, s server, alice, bob *process) map[*net.TCPConn]string
}

var attacks = []attack{
	{"none", false, func(t *testing.T, s server, alice, bob *process) map[*net.TCPConn]string {
		alice.do("dial c - %s", s.Addr())
		first := s.accept()
		bob.do("dial c - %s", s.Addr())
		return map[*net.TCPConn]string{first: "61001", s.accept(): "61002"}
	}},
	{"the client has closed: the kernel says uid 0", true, func(t *testing.T, s server, alice, bob *process) map[*net.TCPConn]string {
		bob.do("dial c - %s", s.Addr())
		conn := s.accept()
		bob.do("close c")
		return map[*net.TCPConn]string{conn: "peer_not_established"}
	}},
	{"another user listens on the client's old port", true, func(t *testing.T, s server, alice, bob *process) map[*net.TCPConn]string {
		port := alice.do("dial c %s %s", quietPort(t), s.Addr())
		conn := s.accept()
		alice.do("reset c")
		bob.do("listen l %s", port)
		return map[*net.TCPConn]string{conn: "peer_not_established"}
	}},
	{"another user takes the client's source port after a reset", true, func(t *testing.T, s server, alice, bob *process) map[*net.TCPConn]string {
		port := bob.do("dial c %s %s", quietPort(t), s.Addr())
		conn := s.accept()
		bob.do("send c POST/sign")
		bob.do("reset c")
		alice.do("dial c %s %s", port, s.Addr())
		if caller, err := newKernel(t).Lookup(addrPorts(conn)); caller.User.UID != 61001 || err != nil {
			t.Errorf("Lookup = %v, %v: without Established it should see alice", caller, err)
		}
		request := make([]byte, len("POST/sign"))
		if _, err := io.ReadFull(conn, request); err != nil {
			t.Errorf("what bob sent cannot be read (%v): the attack is not what it was", err)
		}
		return map[*net.TCPConn]string{conn: "socket_gone", s.accept(): "61001"}
	}},
	{"the same port on another address of 127/8", true, func(t *testing.T, s server, alice, bob *process) map[*net.TCPConn]string {
		_, port, _ := net.SplitHostPort(alice.do("dial c %s %s", quietPort(t), s.Addr()))
		first := s.accept()
		bob.do("dial c 127.0.0.2:%s %s", port, s.Addr())
		return map[*net.TCPConn]string{first: "61001", s.accept(): "61002"}
	}},
	{"a client socket bound to the interface", true, func(t *testing.T, s server, alice, bob *process) map[*net.TCPConn]string {
		bob.do("dial c - %s lo", s.Addr())
		return map[*net.TCPConn]string{s.accept(): "peer_not_found"}
	}},
	{"another user's half-open socket, bound to the interface, has the same addresses", true, func(t *testing.T, s server, alice, bob *process) map[*net.TCPConn]string {
		port := bob.do("dial c %s %s lo reuse", quietPort(t), s.Addr())
		first := s.accept()
		alice.do("dial c %s %s reuse", port, s.Addr()) // the first attempt resets bob's connection, unseen by him
		return map[*net.TCPConn]string{first: "socket_gone", s.accept(): "61001"}
	}},
	{"an IPv6 socket that speaks IPv4", true, func(t *testing.T, s server, alice, bob *process) map[*net.TCPConn]string {
		bob.do("mapped c %d", s.Addr().(*net.TCPAddr).Port)
		return map[*net.TCPConn]string{s.accept(): "61002"}
	}},
	{"a multipath client", false, func(t *testing.T, s server, alice, bob *process) map[*net.TCPConn]string {
		bob.do("dial c - %s mptcp", s.Addr())
		return map[*net.TCPConn]string{s.accept(): "61002"}
	}},
	{"the process changes its user: the creator stays", false, func(t *testing.T, s server, _, _ *process) map[*net.TCPConn]string {
		root := start(t, cardbroker.UserID{}, nil)
		root.do("dial c - %s", s.Addr())
		root.do("setuid 61001")
		return map[*net.TCPConn]string{s.accept(): "0"}
	}},
	{"the socket is passed on: the creator stays", false, func(t *testing.T, s server, alice, bob *process) map[*net.TCPConn]string {
		bob.do("dial c - %s", s.Addr())
		start(t, cardbroker.UserID{UID: 61001}, nil, stolen(t, bob, bob.do("fd c")))
		bob.end()
		return map[*net.TCPConn]string{s.accept(): "61002"}
	}},
	{"root of a user namespace", false, func(t *testing.T, s server, _, _ *process) map[*net.TCPConn]string {
		boxed := start(t, cardbroker.UserID{}, userNamespace(bob))
		boxed.do("dial c - %s", s.Addr())
		return map[*net.TCPConn]string{s.accept(): "61002"}
	}},
}

func addrPorts(conn *net.TCPConn) (client, server netip.AddrPort) {
	return conn.RemoteAddr().(*net.TCPAddr).AddrPort(), conn.LocalAddr().(*net.TCPAddr).AddrPort()
}

// stolen takes a descriptor out of a process.
func stolen(t testing.TB, p *process, number string) *os.File {
	t.Helper()
	pidfd, err := unix.PidfdOpen(p.cmd.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	n, _ := strconv.Atoi(number)
	fd, err := unix.PidfdGetfd(pidfd, n, 0)
	if err != nil {
		testenv.Skip(t, "needs pidfd_getfd: "+err.Error())
	}
	file := os.NewFile(uintptr(fd), "stolen")
	t.Cleanup(func() { file.Close() })
	return file
}

// userNamespace has a process be root of a user namespace in which only one user exists.
func userNamespace(user cardbroker.UserID) *syscall.SysProcAttr {
	one := []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(user.UID), Size: 1}}
	return &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER, UidMappings: one, GidMappings: one, Credential: &syscall.Credential{},
	}
}

// TestAttacks runs each attack against a naive look-up, which shows that the attack is one, and against ours.
func TestAttacks(t *testing.T) {
	for _, attack := range attacks {
		t.Run(attack.name, func(t *testing.T) {
			k, s := newKernel(t), newServer(t, "127.0.0.1:0")
			fooled := false
			for conn, want := range attack.stage(t, s, start(t, alice, nil), start(t, bob, nil)) {
				if got := verdict(k.Attest(conn)); got != want {
					t.Errorf("Attest(%v) = %s, want %s", conn.RemoteAddr(), got, want)
				}
				fooled = fooled || naive(t, conn) != want
			}
			if attack.fools && !fooled {
				t.Error("the naive look-up was not fooled: the attack is not what it was")
			}
		})
	}
}

// TestOtherNamespace asks from inside other namespaces: what cannot be known there is refused.
func TestOtherNamespace(t *testing.T) {
	s := newServer(t, "127.0.0.1:0")
	caller := start(t, alice, nil)
	client := caller.do("dial c - %s", s.Addr())
	s.accept()
	for _, test := range []struct {
		name string
		attr *syscall.SysProcAttr
		want string
	}{
		{"the same", nil, "61001"},
		{"a user namespace without the caller", userNamespace(bob), "peer_overflow_uid"},
		{"another network", &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}, "peer_not_found"},
	} {
		t.Run(test.name, func(t *testing.T) {
			asker := start(t, bob, test.attr)
			if got := asker.do("lookup %s %s", client, s.Addr()); got != test.want {
				t.Errorf("Lookup of alice = %s, want %s", got, test.want)
			}
		})
	}
}
