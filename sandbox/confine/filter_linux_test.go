// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package confine_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cardbroker/cardbroker/sandbox/confine"
)

// call is what the kernel shows a filter of a system call.
type call struct {
	arch, number uint32
	first        uint64 // argument
}

// judge runs a filter as the kernel does, as far as ours goes. It fails the test on an instruction that ours has no use
// for, and on a program that does not end.
func judge(t *testing.T, program []unix.SockFilter, c call) uint32 {
	t.Helper()
	words := map[uint32]uint32{0: c.number, 4: c.arch, 16: uint32(c.first), 20: uint32(c.first >> 32)}
	var a uint32
	for at := 0; at < len(program); at++ {
		in := program[at]
		var holds bool
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			word, ok := words[in.K]
			if !ok {
				t.Fatalf("instruction %d looks at %d", at, in.K)
			}
			a = word
			continue
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			holds = a == in.K
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			holds = a >= in.K
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			holds = a&in.K != 0
		default:
			t.Fatalf("instruction %d is %+v", at, in)
		}
		if holds {
			at += int(in.Jt)
		} else {
			at += int(in.Jf)
		}
	}
	t.Fatal("the program does not end")
	return 0
}

const (
	allowed = unix.SECCOMP_RET_ALLOW
	denied  = unix.SECCOMP_RET_ERRNO
	// aThread is how Go starts one; aProcess is fork of a C library.
	aThread  = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_SYSVSEM | unix.CLONE_THREAD
	aProcess = unix.CLONE_CHILD_SETTID | unix.CLONE_CHILD_CLEARTID | uint64(unix.SIGCHLD)
)

func TestFilter(t *testing.T) {
	own := func(number uint32, first uint64) call { return call{confine.AuditArch, number, first} }
	tests := map[string]struct {
		call call
		want uint32
	}{
		"read":                      {own(unix.SYS_READ, 3), allowed},
		"openat":                    {own(unix.SYS_OPENAT, 3), allowed},
		"futex":                     {own(unix.SYS_FUTEX, 3), allowed},
		"a call of tomorrow":        {own(999, 0), allowed},
		"another architecture":      {call{unix.AUDIT_ARCH_I386, unix.SYS_READ, 3}, unix.SECCOMP_RET_KILL_PROCESS},
		"no architecture":           {call{0, unix.SYS_READ, 3}, unix.SECCOMP_RET_KILL_PROCESS},
		"Unix socket":               {own(unix.SYS_SOCKET, unix.AF_UNIX), allowed},
		"Unix socket, upper half":   {own(unix.SYS_SOCKET, 1<<32|unix.AF_UNIX), allowed}, // the kernel takes an int
		"IPv4 socket":               {own(unix.SYS_SOCKET, unix.AF_INET), denied | uint32(unix.EAFNOSUPPORT)},
		"IPv4 socket, upper half":   {own(unix.SYS_SOCKET, 1<<32|unix.AF_INET), denied | uint32(unix.EAFNOSUPPORT)},
		"IPv6 socket":               {own(unix.SYS_SOCKET, unix.AF_INET6), denied | uint32(unix.EAFNOSUPPORT)},
		"netlink socket":            {own(unix.SYS_SOCKET, unix.AF_NETLINK), denied | uint32(unix.EAFNOSUPPORT)},
		"packet socket":             {own(unix.SYS_SOCKET, unix.AF_PACKET), denied | uint32(unix.EAFNOSUPPORT)},
		"socket of a virtual host":  {own(unix.SYS_SOCKET, unix.AF_VSOCK), denied | uint32(unix.EAFNOSUPPORT)},
		"socket of the kernel's":    {own(unix.SYS_SOCKET, unix.AF_ALG), denied | uint32(unix.EAFNOSUPPORT)},
		"socket of no family":       {own(unix.SYS_SOCKET, 0), denied | uint32(unix.EAFNOSUPPORT)},
		"pair of Unix sockets":      {own(unix.SYS_SOCKETPAIR, unix.AF_UNIX), allowed},
		"pair of TIPC sockets":      {own(unix.SYS_SOCKETPAIR, unix.AF_TIPC), denied | uint32(unix.EAFNOSUPPORT)},
		"thread":                    {own(unix.SYS_CLONE, aThread), allowed},
		"process":                   {own(unix.SYS_CLONE, aProcess), denied | uint32(unix.EPERM)},
		"process, upper half":       {own(unix.SYS_CLONE, aThread<<32|aProcess), denied | uint32(unix.EPERM)},
		"user namespace":            {own(unix.SYS_CLONE, unix.CLONE_NEWUSER|aProcess), denied | uint32(unix.EPERM)},
		"thread with its own mount": {own(unix.SYS_CLONE, unix.CLONE_NEWNS|aThread), denied | uint32(unix.EPERM)},
		"thread with its own net":   {own(unix.SYS_CLONE, unix.CLONE_NEWNET|aThread), denied | uint32(unix.EPERM)},
		"clone3":                    {own(unix.SYS_CLONE3, 0), denied | uint32(unix.ENOSYS)},
	}
	program := confine.Filter(true)
	for name, test := range tests {
		if got := judge(t, program, test.call); got != test.want {
			t.Errorf("%s: the filter says %#x, want %#x", name, got, test.want)
		}
	}
	none := confine.Filter(false)
	for name, test := range tests {
		want := test.want
		if test.call.number == unix.SYS_SOCKET {
			want = denied | uint32(unix.EAFNOSUPPORT)
		}
		if got := judge(t, none, test.call); got != want {
			t.Errorf("%s, where no socket is needed: the filter says %#x, want %#x", name, got, want)
		}
	}
	for _, number := range confine.Refused() {
		if got, want := judge(t, program, own(number, 0)), uint32(denied|uint32(unix.EPERM)); got != want {
			t.Errorf("call %d: the filter says %#x, want %#x", number, got, want)
		}
	}
	allows := 0
	for number := range uint32(1000) {
		if judge(t, program, own(number, 0)) == allowed {
			allows++
		}
	}
	if want := 1000 - len(confine.Refused()) - 4; allows != want { // clone, clone3, socket and socketpair with a 0
		t.Errorf("the filter allows %d of 1000 calls, want %d", allows, want)
	}
}

// Each jump stays within a program that the kernel takes.
func TestFilterIsSmall(t *testing.T) {
	program := confine.Filter(true)
	if len(program) > 200 {
		t.Errorf("the filter has %d instructions, want 200 or fewer", len(program))
	}
	for at, in := range program {
		if in.Code&7 == unix.BPF_JMP && at+1+int(max(in.Jt, in.Jf)) >= len(program) {
			t.Errorf("instruction %d jumps out of the program", at)
		}
	}
}

// What a version of Landlock does not know is asked of none below it: the kernel would refuse the whole.
func TestHandled(t *testing.T) {
	tests := []struct {
		version           int
		files, net, scope uint64
	}{
		{1, 0x1FFF, 0, 0},
		{2, 0x3FFF, 0, 0},
		{3, 0x7FFF, 0, 0},
		{4, 0x7FFF, 3, 0},
		{5, 0xFFFF, 3, 0},
		{6, 0xFFFF, 3, 3},
		{7, 0xFFFF, 3, 3},
		{8, 0xFFFF, 3, 3},
		{9, 0x1FFFF, 3, 3},
		{10, 0x1FFFF, 15, 3},
		{99, 0x1FFFF, 15, 3},
	}
	for _, test := range tests {
		got := confine.Handled(test.version)
		if got.Handled_access_fs != test.files || got.Handled_access_net != test.net || got.Scoped != test.scope {
			t.Errorf("version %d: %#x, %#x, %#x, want %#x, %#x, %#x", test.version, got.Handled_access_fs, got.Handled_access_net,
				got.Scoped, test.files, test.net, test.scope)
		}
	}
}

func TestRules(t *testing.T) {
	needs := confine.Needs{Read: []string{"/module"}, Write: []string{"/tokens"}, Sockets: []string{"/run/pcscd"}}
	tests := map[int]map[string]uint64{
		1: {"/program": 0x5, "/module": 0xC, "/tokens": 0x1BE, "/run/pcscd": 0},
		7: {"/program": 0x5, "/module": 0xC, "/tokens": 0x41BE, "/run/pcscd": 0},
		9: {"/program": 0x5, "/module": 0xC, "/tokens": 0x41BE, "/run/pcscd": 0x10000},
	}
	for version, want := range tests {
		got := confine.RulesOf(version, "/program", needs)
		for path, rights := range want {
			if got[path] != rights {
				t.Errorf("version %d, %s: rights %#x, want %#x", version, path, got[path], rights)
			}
		}
	}
}
