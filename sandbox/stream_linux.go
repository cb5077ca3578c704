// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"net"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stream is a stream to the agent whose reader waits for it in the system call. With Go's poller he would wait in two steps, a thread
// that hears of all sockets and then the goroutine, and the thread would also wake up each time that the agent has taken an answer.
// Who serves a stream calls the card from the same thread. One goroutine reads, and it alone sets the deadline for that.
type stream struct {
	*os.File // blocking, and so out of the poller's sight
	raw      syscall.RawConn
	deadline time.Time // of reads; zero: there is none
	wait     func(fd uintptr)
	poll     [1]unix.PollFd
	waited   error
	yielded  time.Time // when the scheduler last had its turn
}

// yieldEvery is how long a reader may do nothing but system calls. After 10 ms the runtime takes such a goroutine for one that does not let
// others run, and wakes up another thread for each of its calls until it has let the scheduler choose.
const yieldEvery = 5 * time.Millisecond

var _ net.Conn = (*stream)(nil)

// newStream takes a descriptor over.
func newStream(fd int) (*stream, error) {
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, false); err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	s := &stream{File: os.NewFile(uintptr(fd), "stream")}
	s.wait = s.await
	var err error
	s.raw, err = s.File.SyscallConn()
	return s, err
}

// Read implements [net.Conn].
func (s *stream) Read(p []byte) (int, error) {
	if !s.deadline.IsZero() {
		if s.raw.Control(s.wait) != nil {
			return 0, net.ErrClosed
		}
		if s.waited != nil {
			return 0, s.waited
		}
	}
	n, err := s.File.Read(p)
	err = closed(err)
	if now := time.Now(); now.Sub(s.yielded) > yieldEvery {
		s.yielded = now
		runtime.Gosched()
	}
	return n, err
}

// Write implements [net.Conn].
func (s *stream) Write(p []byte) (int, error) {
	n, err := s.File.Write(p)
	return n, closed(err)
}

// closed has a file that was closed be a connection that was.
func closed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return net.ErrClosed
	}
	return err
}

// await waits until there is something to read, or the deadline. The descriptor stays open meanwhile.
func (s *stream) await(fd uintptr) {
	for {
		left := max(0, time.Until(s.deadline))
		s.poll[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
		n, err := unix.Poll(s.poll[:], int((left+time.Millisecond-1)/time.Millisecond))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			s.waited = os.NewSyscallError("poll", err)
		case n == 0:
			s.waited = os.ErrDeadlineExceeded
		default:
			s.waited = nil
		}
		return
	}
}

// SetReadDeadline is for the next Read.
func (s *stream) SetReadDeadline(t time.Time) error {
	s.deadline = t
	return nil
}

// SetWriteDeadline is not possible.
func (s *stream) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

// SetDeadline is not possible.
func (s *stream) SetDeadline(time.Time) error { return os.ErrNoDeadline }

// LocalAddr says that it is a socket without a name.
func (s *stream) LocalAddr() net.Addr { return &net.UnixAddr{Net: "unix"} }

// RemoteAddr says the same.
func (s *stream) RemoteAddr() net.Addr { return &net.UnixAddr{Net: "unix"} }

// Close ends the stream, and with it a Read or Write that waits.
func (s *stream) Close() error {
	s.raw.Control(func(fd uintptr) { unix.Shutdown(int(fd), unix.SHUT_RDWR) }) // an error is of a stream that has ended
	return s.File.Close()
}
