// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !race

package quiet

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socket is a connection of package net whose Read and Write are quiet. All else, also who waits and until when, is the connection's.
type socket struct {
	net.Conn
	raw          syscall.RawConn
	reads, sends atomic.Pointer[transfer] // that nobody uses, for the next one
}

// New returns a stream socket of package net with quiet calls; any other connection as it is.
func New(conn net.Conn) net.Conn {
	system, ok := conn.(syscall.Conn)
	if !ok {
		return conn
	}
	raw, err := system.SyscallConn()
	if err != nil {
		return conn
	}
	return &socket{Conn: conn, raw: raw}
}

// SyscallConn returns that of the connection.
func (s *socket) SyscallConn() (syscall.RawConn, error) { return s.raw, nil }

// transfer is one Read or Write.
type transfer struct {
	p     []byte
	n     int // bytes that are through
	errno syscall.Errno
	step  func(fd uintptr) bool // goes on; false: it has to wait
}

// Read implements [net.Conn].
func (s *socket) Read(p []byte) (int, error) {
	n, err := s.do("read", p, &s.reads, s.raw.Read, (*transfer).read)
	if err == nil && n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, err
}

// Write implements [net.Conn].
func (s *socket) Write(p []byte) (int, error) {
	return s.do("write", p, &s.sends, s.raw.Write, (*transfer).send)
}

// do takes steps until one is the last; in between the poller waits.
func (s *socket) do(call string, p []byte, idle *atomic.Pointer[transfer], poll func(func(fd uintptr) bool) error, step func(*transfer, uintptr) bool) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	t := idle.Swap(nil)
	if t == nil {
		t = &transfer{}
		t.step = func(fd uintptr) bool { return step(t, fd) }
	}
	t.p, t.n, t.errno = p, 0, 0
	err := named(poll(t.step), call)
	if err == nil && t.errno != 0 {
		err = s.failed(call, t.errno)
	}
	n := t.n
	t.p = nil
	idle.Store(t)
	return n, err
}

// failed says what has failed, as package net does.
func (s *socket) failed(call string, errno syscall.Errno) error {
	local := s.LocalAddr()
	return &net.OpError{Op: call, Net: local.Network(), Source: local, Addr: s.RemoteAddr(), Err: os.NewSyscallError(call, errno)}
}

// named gives an error of the poller the name of the call that it ended.
func named(err error, call string) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		op.Op = call
	}
	return err
}

func (t *transfer) read(fd uintptr) bool {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&t.p[0])), uintptr(len(t.p)), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			t.n = int(n)
			return true
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			t.errno = errno
			return true
		}
	}
}

func (t *transfer) send(fd uintptr) bool {
	for t.n < len(t.p) {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&t.p[t.n])), uintptr(len(t.p)-t.n),
			unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			t.n += int(n)
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			t.errno = errno
			return true
		}
	}
	return true
}
