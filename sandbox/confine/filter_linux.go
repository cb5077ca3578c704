// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package confine

import (
	"fmt"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cardbroker/cardbroker"
)

// Where the kernel puts what a filter looks at, struct seccomp_data. Of an argument it is the lower half: what is judged
// here are ints, of which the kernel takes no more. Both architectures are little-endian.
const (
	atNumber   = 0
	atArch     = 4
	atArgument = 16 // the first one
)

// namespaces are the flags by which clone makes a world of its own.
const namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER |
	unix.CLONE_NEWPID | unix.CLONE_NEWNET

// refused are the calls that no source of cards has a reason for: other programs, other processes, kernel interfaces
// that go past the rules for files, and the machine itself.
func refused() []uint32 {
	return append([]uint32{
		unix.SYS_EXECVE, unix.SYS_EXECVEAT,
		unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PIDFD_GETFD,
		unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_IO_URING_SETUP, unix.SYS_USERFAULTFD,
		unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY,
		unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT,
		unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR,
		unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_PERSONALITY, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_FANOTIFY_INIT,
		unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD,
		unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME,
	}, refusedHere()...)
}

// filter returns the program that judges each system call. All that it does not name is allowed: nobody knows what a
// vendor's module calls. Who needs no socket gets none, not even one of Unix: below version 9 Landlock does not ask where that connects to.
func filter(sockets bool) []unix.SockFilter {
	program := slices.Concat(
		load(atArch), unless(auditArch, answer(unix.SECCOMP_RET_KILL_PROCESS)), // numbers mean something else there
		load(atNumber), foreignNumbers(),
	)
	for _, number := range refused() {
		program = append(program, when(unix.BPF_JEQ, number, fail(unix.EPERM))...)
	}
	pair := slices.Concat(load(atArgument), when(unix.BPF_JEQ, unix.AF_UNIX, allow()), fail(unix.EAFNOSUPPORT))
	socket := fail(unix.EAFNOSUPPORT)
	if sockets {
		socket = pair
	}
	thread := slices.Concat(load(atArgument), when(unix.BPF_JSET, namespaces, fail(unix.EPERM)),
		when(unix.BPF_JSET, unix.CLONE_THREAD, allow()), fail(unix.EPERM)) // a process of its own would outlive ours
	return slices.Concat(program,
		when(unix.BPF_JEQ, unix.SYS_CLONE3, fail(unix.ENOSYS)), // its flags cannot be seen; C libraries use clone then
		when(unix.BPF_JEQ, unix.SYS_CLONE, thread),
		when(unix.BPF_JEQ, unix.SYS_SOCKET, socket),
		when(unix.BPF_JEQ, unix.SYS_SOCKETPAIR, pair),
		allow())
}

// load has the following look at a word of what the kernel shows.
func load(at uint32) []unix.SockFilter {
	return []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}}
}

// when does then, which ends in an answer, if the word compares so with k.
func when(compare uint16, k uint32, then []unix.SockFilter) []unix.SockFilter {
	jump := unix.SockFilter{Code: unix.BPF_JMP | compare | unix.BPF_K, Jf: uint8(len(then)), K: k}
	return append([]unix.SockFilter{jump}, then...)
}

// unless does otherwise, which ends in an answer, if the word is not k.
func unless(k uint32, otherwise []unix.SockFilter) []unix.SockFilter {
	jump := unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: uint8(len(otherwise)), K: k}
	return append([]unix.SockFilter{jump}, otherwise...)
}

func answer(k uint32) []unix.SockFilter {
	return []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: k}}
}

func allow() []unix.SockFilter { return answer(unix.SECCOMP_RET_ALLOW) }

func fail(errno unix.Errno) []unix.SockFilter { return answer(unix.SECCOMP_RET_ERRNO | uint32(errno)) }

// filterCalls puts the filter into force, for all threads.
func filterCalls(sockets bool) error { return install(filter(sockets)) }

// install has the kernel run a program for each system call of each thread.
func install(program []unix.SockFilter) error {
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&prog)))
	switch {
	case errno != 0:
		return cardbroker.Wrapf(errno, cardbroker.Unavailable, "this kernel does not filter system calls")
	case thread != 0:
		return fmt.Errorf("thread %d does not take the filter of system calls", thread)
	}
	return nil
}
