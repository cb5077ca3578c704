// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package nearest

import (
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/hostsession"
	"github.com/cardbroker/cardbroker/internal/peer"
	"github.com/cardbroker/cardbroker/internal/run"
)

// ownSocket connects this process to itself, and returns the client's end as the kernel names it.
func ownSocket(t testing.TB) peer.Caller {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	listener, err := lc.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	dialer := net.Dialer{}
	dialer.SetMultipathTCP(false)
	conn, err := dialer.Dial("tcp4", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	kernel := peer.NewKernel()
	defer kernel.Close()
	caller, err := kernel.Lookup(conn.LocalAddr().(*net.TCPAddr).AddrPort(), listener.Addr().(*net.TCPAddr).AddrPort())
	if err != nil {
		t.Fatal(err)
	}
	return caller
}

func startChooser(t testing.TB) *Chooser {
	t.Helper()
	w := New()
	group := run.New(t.Context())
	group.Go("walks", w.Run)
	t.Cleanup(func() { group.Stop() })
	return w
}

// dumpable makes this process one whose user may look into it, as most programs are.
func dumpable(t testing.TB) {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
}

// TestReusedInode gives the inode of a socket whose holders are known to another: what is kept goes by the cookie.
func TestReusedInode(t *testing.T) {
	dumpable(t)
	w := startChooser(t)
	first, second := ownSocket(t), ownSocket(t)
	holders := w.holders(first)
	if len(holders) != 1 {
		t.Fatalf("the holders are %v, want this process", holders)
	}
	naive := map[uint32][]hostsession.Holder{first.Inode: holders}
	later := second
	later.Inode = first.Inode // as if the number had come round
	if len(naive[later.Inode]) != 1 {
		t.Error("who keeps holders by the inode is not fooled")
	}
	if w.answer(&question{caller: later}) {
		t.Error("the next socket with the inode is taken for the first")
	}
	if !w.answer(&question{caller: first}) {
		t.Error("what was found for a connection is not kept")
	}
}

// TestManyWalks asks for the holders of more sockets than are kept.
func TestManyWalks(t *testing.T) {
	dumpable(t)
	w := startChooser(t)
	fill := func(*walk) error {
		for i := range maxKnown {
			w.known[uint64(i)<<32] = nil
		}
		return nil
	}
	if err := w.loop.Must(fill); err != nil {
		t.Fatal(err)
	}
	if n := len(w.holders(ownSocket(t))); n != 1 {
		t.Errorf("%d holders, want 1", n)
	}
	w.loop.Must(func(*walk) error {
		if len(w.known) > maxKnown {
			t.Errorf("%d are kept, want at most %d", len(w.known), maxKnown)
		}
		return nil
	})
}

// BenchmarkPick chooses among the agents of a user: one, and two where only a walk through /proc tells.
func BenchmarkPick(b *testing.B) {
	dumpable(b)
	caller := ownSocket(b)
	agent := Candidate{Agent: cardbroker.Agent{Key: cardbroker.AgentKey{User: peer.Self(), Session: "a"}, PID: os.Getpid(), State: cardbroker.Registered}}
	other := agent
	other.Key.Session, other.PID = "b", os.Getppid()
	chooser := startChooser(b)
	b.Run("one", func(b *testing.B) {
		for b.Loop() {
			chooser.Pick([]Candidate{agent}, caller)
		}
	})
	b.Run("two, same connection", func(b *testing.B) {
		for b.Loop() {
			chooser.Pick([]Candidate{agent, other}, caller)
		}
	})
	b.Run("two, new connection", func(b *testing.B) {
		for b.Loop() {
			caller.Cookie++
			chooser.Pick([]Candidate{agent, other}, caller)
		}
	})
}
