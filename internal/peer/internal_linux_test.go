// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"encoding/binary"
	"net/netip"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cardbroker/cardbroker"
)

// TestCheckPID is the way of kernels before 6.5, which newer ones do not take.
func TestCheckPID(t *testing.T) {
	if err := checkPID(os.Getpid()); err != nil {
		t.Errorf("checkPID of this process: %v", err)
	}
	child := exec.Command("true")
	if err := child.Run(); err != nil {
		t.Fatal(err)
	}
	if err := checkPID(child.Process.Pid); cardbroker.RuleOf(err) != cardbroker.RulePeerNoProcess {
		t.Errorf("checkPID of a process that has ended = %v, want peer_no_process", err)
	}
}

// TestBrokenSocket: a socket that fails says Unavailable once, is closed, and another takes its place.
func TestBrokenSocket(t *testing.T) {
	k := NewKernel()
	defer k.Close()
	at := netip.MustParseAddrPort("127.0.0.1:9")
	expect := func(want cardbroker.Reason) {
		t.Helper()
		for range maxSockets { // they take turns
			if _, err := k.Lookup(at, at); cardbroker.ReasonOf(err) != want {
				t.Fatalf("Lookup = %v, want %s", err, want)
			}
		}
	}
	expect(cardbroker.CallerRefused)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for range maxSockets {
		s := <-k.sockets
		if err := unix.Dup3(int(null.Fd()), s.fd, unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		k.sockets <- s
	}
	before := descriptors(t)
	expect(cardbroker.Unavailable)
	expect(cardbroker.CallerRefused)
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors are open, want %d", after, before)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestJudge: each rule alone refuses, also what today's kernels do not answer.
func TestJudge(t *testing.T) {
	k := NewKernel()
	defer k.Close()
	at := netip.MustParseAddrPort
	client, server := at("127.0.0.1:40000"), at("127.0.0.1:80")
	for _, test := range []struct {
		name   string
		change func(e *entry)
		want   cardbroker.Rule
	}{
		{"good", func(e *entry) {}, ""},
		{"no socket", func(e *entry) { *e = entry{} }, cardbroker.RulePeerNotEstablished},
		{"listening", func(e *entry) { e.state = stateListen }, cardbroker.RulePeerNotEstablished},
		{"no inode", func(e *entry) { e.inode = 0 }, cardbroker.RulePeerNoInode},
		{"another address", func(e *entry) { e.src = at("127.0.0.2:40000") }, cardbroker.RulePeerMismatch},
		{"another port", func(e *entry) { e.src = at("127.0.0.1:40001") }, cardbroker.RulePeerMismatch},
		{"another server", func(e *entry) { e.dst = at("127.0.0.1:81") }, cardbroker.RulePeerMismatch},
		{"overflow user", func(e *entry) { e.uid = k.overflow }, cardbroker.RulePeerOverflowUID},
	} {
		e := entry{state: stateEstablished, src: client, dst: server, uid: 61001, inode: 1}
		test.change(&e)
		if _, err := k.judge(e, client, server); cardbroker.RuleOf(err) != test.want {
			t.Errorf("%s: judge = %v, want %q", test.name, err, test.want)
		}
	}
}

// FuzzAnswer: whatever comes from the socket is an entry or an error.
func FuzzAnswer(f *testing.F) {
	s, err := openSocket()
	if err != nil {
		f.Fatal(err)
	}
	defer s.close()
	at := netip.MustParseAddrPort("127.0.0.1:9")
	if _, errno, err := s.ask(question{unix.IPPROTO_TCP, at, at, unboundOnly}); err != nil || errno != unix.ENOENT {
		f.Fatalf("ask = %v, %v", errno, err)
	}
	f.Add(append([]byte(nil), s.answer[:40]...)) // the kernel's errno
	entry := make([]byte, answerSize+12)
	binary.NativeEndian.PutUint32(entry, uint32(len(entry)))
	binary.NativeEndian.PutUint16(entry[4:], unix.SOCK_DIAG_BY_FAMILY)
	binary.NativeEndian.PutUint32(entry[8:], s.seq)
	binary.NativeEndian.PutUint16(entry[answerSize:], 12)
	binary.NativeEndian.PutUint16(entry[answerSize+2:], cgroupID)
	f.Add(entry)
	f.Add(entry[:answerSize+3])
	f.Fuzz(func(t *testing.T, b []byte) {
		kind, body, err := s.message(b)
		if err == nil && kind == unix.SOCK_DIAG_BY_FAMILY && len(body) >= answerSize-unix.SizeofNlMsghdr {
			parseEntry(body)
		}
	})
}
