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
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/peer"
	"github.com/cardbroker/cardbroker/internal/testenv"
)

// dial connects to s from this process and returns both ends.
func dial(t testing.TB, s server) (client, accepted *net.TCPConn) {
	t.Helper()
	conn, err := net.DialTCP("tcp", nil, s.Addr().(*net.TCPAddr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, s.accept()
}

func TestAttestTellsAll(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "127.9.8.7:0", "[::1]:0"} {
		client, accepted := dial(t, newServer(t, address))
		got, err := newKernel(t).Attest(accepted)
		if err != nil {
			t.Fatalf("Attest at %s: %v", address, err)
		}
		from, to := addrPorts(accepted)
		want := peer.Caller{User: peer.Self(), Inode: inode(t, client), Cookie: cookie(t, client), Cgroup: cgroup(t), Client: from, Server: to}
		if got != want {
			t.Errorf("Attest = %+v, want %+v", got, want)
		}
	}
}

// cookie asks the socket itself.
func cookie(t testing.TB, conn *net.TCPConn) (cookie uint64) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { cookie, err = unix.GetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_COOKIE) })
	if err != nil || cookie == 0 {
		t.Fatalf("the socket's cookie is %d, %v", cookie, err)
	}
	return cookie
}

func inode(t testing.TB, conn *net.TCPConn) uint32 {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var stat syscall.Stat_t
	raw.Control(func(fd uintptr) { err = syscall.Fstat(int(fd), &stat) })
	if err != nil {
		t.Fatal(err)
	}
	return uint32(stat.Ino)
}

// cgroup returns the id of this process's cgroup v2: the inode of its directory.
func cgroup(t testing.TB) uint64 {
	t.Helper()
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut("\n"+string(b), "\n0::")
	path, _, _ := strings.Cut(rest, "\n")
	for _, mount := range []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		var stat syscall.Stat_t
		if _, err := os.Stat(mount + path + "/cgroup.procs"); err == nil && syscall.Stat(mount+path, &stat) == nil {
			return stat.Ino
		}
	}
	testenv.Skip(t, "needs cgroup v2")
	return 0
}

func TestLookupRefuses(t *testing.T) {
	k, s := newKernel(t), newServer(t, "127.0.0.1:0")
	_, accepted := dial(t, s)
	client, served := addrPorts(accepted)
	waiting, err := net.DialTCP("tcp", nil, s.Addr().(*net.TCPAddr)) // nobody accepts it
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	unaccepted := waiting.LocalAddr().(*net.TCPAddr).AddrPort()
	in6 := func(a netip.AddrPort) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr().As16()), a.Port())
	}
	at := netip.MustParseAddrPort
	for _, test := range []struct {
		name           string
		client, server netip.AddrPort
		want           string
	}{
		{"a connection", client, served, peer.Self().String()},
		{"written as IPv6", in6(client), in6(served), peer.Self().String()},
		{"another address of 127/8", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), client.Port()), served, "peer_not_found"},
		{"another server port", client, netip.AddrPortFrom(served.Addr(), served.Port()^1), "peer_not_found"},
		{"a listener", served, at("127.0.0.1:0"), "peer_not_established"},
		{"a listener, as fallback", served, at("127.0.0.1:9"), "peer_not_established"},
		{"nobody has accepted it", served, unaccepted, "peer_no_inode"},
		{"two families", client, at("[::1]:80"), "peer_not_found"},
		{"from elsewhere", at("192.0.2.1:1234"), served, "peer_not_loopback"},
		{"to elsewhere", client, at("192.0.2.1:80"), "peer_not_loopback"},
		{"from elsewhere, as IPv6", at("[::ffff:192.0.2.1]:1234"), served, "peer_not_loopback"},
		{"every address", at("0.0.0.0:1234"), served, "peer_not_loopback"},
		{"a zone", at("[::1%lo]:1"), at("[::1]:2"), "peer_not_found"},
		{"nothing", netip.AddrPort{}, netip.AddrPort{}, "peer_not_loopback"},
	} {
		t.Run(test.name, func(t *testing.T) {
			caller, err := k.Lookup(test.client, test.server)
			if got := verdict(caller, err); got != test.want {
				t.Errorf("Lookup(%v, %v) = %s, want %s", test.client, test.server, got, test.want)
			}
			if err != nil && (caller != peer.Caller{} || cardbroker.ReasonOf(err) != cardbroker.CallerRefused) {
				t.Errorf("Lookup(%v, %v) = %+v, %v, want no caller and caller_refused", test.client, test.server, caller, err)
			}
		})
	}
}

func TestEstablished(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(client, accepted *net.TCPConn)
		want cardbroker.Rule
	}{
		{"open", func(_, _ *net.TCPConn) {}, ""},
		{"request pending", func(client, _ *net.TCPConn) { client.Write([]byte("x")) }, ""},
		{"client closed", func(client, _ *net.TCPConn) { client.Close() }, cardbroker.RuleSocketGone},
		{"client sends no more", func(client, _ *net.TCPConn) { client.CloseWrite() }, cardbroker.RuleSocketGone},
		{"client reset", func(client, _ *net.TCPConn) { client.SetLinger(0); client.Close() }, cardbroker.RuleSocketGone},
		{"we closed", func(_, accepted *net.TCPConn) { accepted.Close() }, cardbroker.RuleSocketGone},
	} {
		t.Run(test.name, func(t *testing.T) {
			client, accepted := dial(t, newServer(t, "127.0.0.1:0"))
			test.do(client, accepted)
			if test.want != "" {
				io.Copy(io.Discard, accepted) // until the client's end is felt here
			}
			if got := cardbroker.RuleOf(peer.Established(accepted)); got != test.want {
				t.Errorf("Established = %q, want %q", got, test.want)
			}
			if _, err := newKernel(t).Attest(accepted); (err == nil) != (test.want == "") {
				t.Errorf("Attest = %v, want an error: %v", err, test.want != "")
			}
		})
	}
}

// TestCloseWhileAsking: whoever asks gets the right answer or Unavailable, and Close returns.
func TestCloseWhileAsking(t *testing.T) {
	k := peer.NewKernel()
	_, accepted := dial(t, newServer(t, "127.0.0.1:0"))
	var askers, warm sync.WaitGroup
	for range 16 {
		warm.Add(1)
		askers.Go(func() {
			for i := 0; ; i++ {
				caller, err := k.Attest(accepted)
				if i == 0 {
					warm.Done()
				}
				if cardbroker.ReasonOf(err) == cardbroker.Unavailable {
					return
				}
				if err != nil || caller.User != peer.Self() {
					t.Errorf("Attest = %+v, %v", caller, err)
					return
				}
			}
		})
	}
	warm.Wait()
	k.Close()
	askers.Wait()
}

// TestNoDescriptorLeft: whatever is asked, of whomever, the Kernel keeps a few sockets, and none after Close.
func TestNoDescriptorLeft(t *testing.T) {
	client, accepted := dial(t, newServer(t, "127.0.0.1:0"))
	from, to := addrPorts(accepted)
	path := t.TempDir() + "/s"
	local, served := dialLocal(t, path)
	round := func(k *peer.Kernel) {
		k.Attest(accepted)
		k.Lookup(from, netip.AddrPortFrom(to.Addr(), 1))
		k.CheckListener(cardbroker.Port(to.Port()), peer.Self(), false)
		peer.Established(client)
		peer.Local(served)
		peer.CheckServer(local)
		peer.CheckPath(path)
	}
	round(newKernel(t)) // opens the runtime's own
	before := descriptors(t)
	k := peer.NewKernel()
	for range 50 {
		round(k)
	}
	if after := descriptors(t); after > before+4 {
		t.Errorf("%d descriptors are open, want at most 4 more than %d", after, before)
	}
	k.Close()
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors are open after Close, want %d", after, before)
	}
}

func descriptors(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestCheckListener runs what users can do to each other's listeners. Alice is the owner.
func TestCheckListener(t *testing.T) {
	const missing, foreign, ok, his = "listener_missing", "listener_foreign", "61001", "61002"
	for _, test := range []struct {
		name       string
		alice, bob string // what each listens on, with P for the port; bob second
		v4, v6     string // the verdict of an agent without [::1], and of one with it
		whose      string // the port is, for who wants to know
	}{
		{"both addresses", "127.0.0.1:P|[::1]:P", "", ok, ok, ok},
		{"all addresses", "0.0.0.0:P|[::]:P v6only", "", ok, ok, ok},
		{"all addresses, one socket", "[::]:P", "", ok, ok, ok},
		{"IPv4 alone", "127.0.0.1:P", "", ok, missing, ok},
		{"multipath", "127.0.0.1:P mptcp|[::1]:P mptcp", "", ok, ok, ok},
		{"nobody", "", "", missing, missing, missing},
		{"IPv6 alone", "[::1]:P", "", missing, missing, foreign},
		{"a squatter on another address", "127.0.0.1:P|[::1]:P", "127.0.0.2:P", ok, ok, ok},
		{"a squatter on [::1]", "127.0.0.1:P", "[::1]:P", foreign, foreign, foreign},
		{"a squatter on [::1], of the interface only", "127.0.0.1:P", "[::1]:P lo", foreign, foreign, foreign},
		{"a squatter on [::1], multipath", "127.0.0.1:P", "[::1]:P mptcp", foreign, foreign, foreign},
		{"a squatter on [::]", "127.0.0.1:P", "[::]:P v6only", foreign, foreign, foreign},
		{"a squatter on 127.0.0.1", "", "127.0.0.1:P", foreign, foreign, his},
		{"a squatter on 127.0.0.1, of the interface only", "[::1]:P", "127.0.0.1:P lo", foreign, foreign, foreign},
		{"a squatter on 0.0.0.0", "[::1]:P", "0.0.0.0:P", foreign, foreign, foreign},
		{"a squatter on [::] for both", "", "[::]:P", foreign, foreign, his},
	} {
		t.Run(test.name, func(t *testing.T) {
			k, port := newKernel(t), freePort(t)
			listen := func(p *process, what string) {
				for i, at := range strings.Split(what, "|") {
					if at != "" {
						p.do("listen l%d %s", i, strings.ReplaceAll(at, "P", port))
					}
				}
			}
			listen(start(t, alice, nil), test.alice)
			listen(start(t, bob, nil), test.bob)
			n, _ := strconv.Atoi(port)
			l, err := k.Listener(cardbroker.Port(n))
			if got := verdict(peer.Caller{User: l.User}, err); got != test.whose {
				t.Errorf("Listener = %s, want %s", got, test.whose)
			}
			if half := test.name == "IPv6 alone"; l.Half != half {
				t.Errorf("Listener has [::1] alone: %v, want %v", l.Half, half)
			}
			for ipv6, want := range map[bool]string{false: test.v4, true: test.v6} {
				got := verdict(peer.Caller{User: alice}, k.CheckListener(cardbroker.Port(n), alice, ipv6))
				if got != want {
					t.Errorf("CheckListener(ipv6 %v) = %s, want %s", ipv6, got, want)
				}
			}
		})
	}
}

// TestCheckReceiver: who gets what is sent over UDP is told apart, whoever listens at that port over TCP. Alice is the owner.
func TestCheckReceiver(t *testing.T) {
	const missing, foreign, ok = "listener_missing", "listener_foreign", "61001"
	for _, test := range []struct {
		name       string
		alice, bob string // where each receives, with P for the port
		want       string
	}{
		{"hers", "127.0.0.1:P", "", ok},
		{"hers, on all addresses", "0.0.0.0:P", "", ok},
		{"hers, for both families", "[::]:P", "", ok},
		{"nobody's", "", "", missing},
		{"IPv6 alone", "[::1]:P", "", missing},
		{"elsewhere", "127.0.0.2:P", "", missing},
		{"his", "", "127.0.0.1:P", foreign},
		{"his, on all addresses", "", "0.0.0.0:P", foreign},
		{"his, for both families", "", "[::]:P", foreign},
		{"his, of the interface only", "", "127.0.0.1:P lo", foreign},
		{"his, beside hers elsewhere", "127.0.0.2:P", "127.0.0.1:P", foreign},
	} {
		t.Run(test.name, func(t *testing.T) {
			k, port := newKernel(t), freePort(t)
			hers, his := start(t, alice, nil), start(t, bob, nil)
			hers.do("listen l 127.0.0.1:%s", port)
			if test.alice != "" {
				hers.do("receive r %s", strings.ReplaceAll(test.alice, "P", port))
			}
			if test.bob != "" {
				his.do("receive r %s", strings.ReplaceAll(test.bob, "P", port))
			}
			n, _ := strconv.Atoi(port)
			if got := verdict(peer.Caller{User: alice}, k.CheckReceiver(cardbroker.Port(n), alice)); got != test.want {
				t.Errorf("CheckReceiver = %s, want %s", got, test.want)
			}
			if got := hers.do("receiver %s %s", port, alice); got != test.want { // as root or not
				t.Errorf("CheckReceiver by alice = %s, want %s", got, test.want)
			}
		})
	}
}

// TestListenerProcess: our own is found.
func TestListenerProcess(t *testing.T) {
	s := newServer(t, "127.0.0.1:0")
	l, err := newKernel(t).Listener(cardbroker.Port(s.Addr().(*net.TCPAddr).Port))
	if pid, name := l.Process(); err != nil || pid != os.Getpid() || name == "" {
		t.Errorf("Listener = %+v, %v, of process %d (%s), want ours", l, err, pid, name)
	}
}

// TestLockedBy: it is found as long as the lock is held.
func TestLockedBy(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/file")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, test := range []struct{ how, pid int }{{unix.LOCK_EX, os.Getpid()}, {unix.LOCK_UN, 0}} {
		if err := unix.Flock(int(f.Fd()), test.how); err != nil {
			t.Fatal(err)
		}
		if pid, name := peer.LockedBy(f.Name()); pid != test.pid || (name == "") != (pid == 0) {
			t.Errorf("LockedBy = %d (%s), want %d", pid, name, test.pid)
		}
	}
	if pid, _ := peer.LockedBy(f.Name() + ".missing"); pid != 0 {
		t.Errorf("LockedBy(missing) = %d", pid)
	}
}

// TestKernelKeepsPorts: what the kernel itself denies a squatter, so that CheckListener and CheckReceiver need not look for it.
func TestKernelKeepsPorts(t *testing.T) {
	port := freePort(t)
	owner, squatter := start(t, alice, nil), start(t, bob, nil)
	owner.do("listen a 127.0.0.1:%s", port)
	owner.do("listen b [::1]:%s reuseport", port)
	for _, at := range []string{
		"127.0.0.1:P", "127.0.0.1:P lo", "127.0.0.1:P reuseport", "0.0.0.0:P", "0.0.0.0:P reuseport", "[::1]:P",
		"[::1]:P reuseport", "[::1]:P mptcp", "[::]:P", "[::]:P v6only", "[::]:P lo",
	} {
		if got := squatter.try("listen c %s", strings.ReplaceAll(at, "P", port)); !strings.Contains(got, "address already in use") {
			t.Errorf("listen on %s = %s, want address already in use", at, got)
		}
	}
	owner.do("receive u 127.0.0.1:%s", port)
	for _, at := range []string{"127.0.0.1:P", "127.0.0.1:P lo", "127.0.0.1:P reuse", "127.0.0.1:P reuseport", "0.0.0.0:P reuse", "[::]:P reuse", "[::]:P lo"} {
		if got := squatter.try("receive c %s", strings.ReplaceAll(at, "P", port)); !strings.Contains(got, "address already in use") {
			t.Errorf("receive at %s = %s, want address already in use", at, got)
		}
	}
}

// freePort returns a port that nobody listens on. It is below the ephemeral range, so that no client has it either, and the ports of
// agents, which other packages' tests start.
func freePort(t testing.TB) string {
	t.Helper()
	var c net.ListenConfig
	c.SetMultipathTCP(false)
	for range 1000 {
		port := 18000 + rand.N(1000)
		if l, err := c.Listen(t.Context(), "tcp", fmt.Sprintf(":%d", port)); err == nil { // all addresses
			l.Close()
			return strconv.Itoa(port)
		}
	}
	t.Fatal("no port is free")
	return ""
}

// TestHostWithoutIPv6 runs in a network of its own, where IPv6 is off.
func TestHostWithoutIPv6(t *testing.T) {
	p := start(t, cardbroker.UserID{}, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET})
	p.do("up")
	p.do("noipv6")
	p.do("listen l 127.0.0.1:24800")
	if got := p.try("listen m [::1]:24800"); !strings.HasPrefix(got, "error") {
		t.Fatalf("listen on [::1] = %s: IPv6 is on", got)
	}
	client := p.do("dial c - 127.0.0.1:24800")
	p.do("accept l s")
	for _, test := range []struct{ ask, want string }{
		{"listener 24800 0 false", "0"},
		{"listener 24800 0 true", "listener_missing"},
		{"listener 24800 61001 false", "listener_foreign"},
		{"listener 24801 0 false", "listener_missing"},
		{"attest s", "0"},
		{"lookup " + client + " 127.0.0.1:24800", "0"},
		{"lookup [::1]:5 [::1]:24800", "peer_not_found"},
	} {
		if got := p.do("%s", test.ask); got != test.want {
			t.Errorf("%s = %s, want %s", test.ask, got, test.want)
		}
	}
}

func BenchmarkAttest(b *testing.B) {
	k := newKernel(b)
	_, accepted := dial(b, newServer(b, "127.0.0.1:0"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Attest(accepted); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCheckListener(b *testing.B) {
	k := newKernel(b)
	port := cardbroker.Port(newServer(b, "127.0.0.1:0").Addr().(*net.TCPAddr).Port)
	b.ReportAllocs()
	for b.Loop() {
		if err := k.CheckListener(port, peer.Self(), false); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	for _, open := range []int{10, 1000, 10_000} {
		b.Run(fmt.Sprintf("connections=%d", open), func(b *testing.B) {
			k := newKernel(b)
			p := start(b, peer.Self(), nil) // has the other ends, for the limit of descriptors
			to := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(p.do("sink 127.0.0.1:0")))
			conns := make([]*net.TCPConn, open)
			for i := range conns {
				conn, err := net.DialTCP("tcp", nil, to)
				if err != nil {
					b.Fatal(err)
				}
				defer conn.Close()
				conns[i] = conn
			}
			served := to.AddrPort()
			took := make([]time.Duration, 0, 1<<20)
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				begin := time.Now()
				caller, err := k.Lookup(conns[i%open].LocalAddr().(*net.TCPAddr).AddrPort(), served)
				if err != nil || caller.User != peer.Self() {
					b.Fatal(caller, err)
				}
				if len(took) < cap(took) {
					took = append(took, time.Since(begin))
				}
				i += 7919 // not in the order in which they were made
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "p50-ns")
			b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
		})
	}
}
