// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package line

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// lingerLimit is how long a goroutine waits in the kernel for its client's next message: programs make one call after the
// other. A shorter wait takes longer, for the machine's clock has to be set for it.
const lingerLimit = 20 * time.Millisecond

// writeLimit is for a client that does not read. The system's buffer holds any one answer.
const writeLimit = 2 * time.Second

// Awake counts the lines whose goroutines do something, or linger. Who lingers may keep a processor from other goroutines for
// as long, so nobody does when more are awake than leave one free.
type Awake struct {
	lines  atomic.Int32
	places int32
}

// NewAwake returns a count for the lines of a server.
func NewAwake() *Awake { return &Awake{places: int32(runtime.GOMAXPROCS(0) - 1)} }

// Lines returns how many there are.
func (a *Awake) Lines() int { return int(a.lines.Load()) }

// Line is the connection of a client. It belongs to the client's goroutine, but for [Line.Interrupt].
//
// A call of libpcsclite is a message and its answer and little else, and most of the time that it takes is that of waking
// somebody up. The runtime's poller wakes one thread, and that often another one. So the socket is not in the poller: the
// goroutine first lingers in poll(2), and then has the runtime wait for an epoll that waits for the socket. Who is idle
// costs no thread.
type Line struct {
	fd    int
	wake  *os.File // an eventfd: ends the lingering
	polls [2]unix.PollFd
	awake *Awake

	epoll *os.File
	raw   syscall.RawConn // of epoll
	armed bool            // epoll becomes ready when the socket does

	// Of one Read.
	try       func(uintptr) bool
	buf       []byte
	got       int
	err       error
	lingered  bool
	forgotten bool // not counted as awake
	roused    bool // and counted again since it lingered last
}

// New takes a connection over.
func New(conn *net.UnixConn, awake *Awake) (*Line, error) {
	defer conn.Close()
	socket, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	l := &Line{fd: -1, awake: awake}
	var failed error
	err = socket.Control(func(fd uintptr) { l.fd, failed = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
	if err = errors.Join(err, failed); err != nil {
		return nil, err
	}
	l.try = l.receive
	awake.lines.Add(1)
	if err := l.open(); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// open makes the line's eventfd, and its epoll, which waits for nothing yet.
func (l *Line) open() error {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return err
	}
	l.wake = os.NewFile(uintptr(wake), "eventfd")
	l.polls = [2]unix.PollFd{{Fd: int32(l.fd), Events: unix.POLLIN}, {Fd: int32(wake), Events: unix.POLLIN}}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	err = unix.SetNonblock(epoll, true) // then the runtime polls it
	l.epoll = os.NewFile(uintptr(epoll), "epoll")
	if err != nil {
		return err
	}
	if l.raw, err = l.epoll.SyscallConn(); err != nil {
		return err
	}
	return unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, l.fd, &unix.EpollEvent{Events: unix.EPOLLONESHOT})
}

// Close ends the connection.
func (l *Line) Close() {
	l.awake.lines.Add(-1)
	l.epoll.Close()
	l.wake.Close()
	unix.Close(l.fd)
}

// Interrupt makes Read return os.ErrDeadlineExceeded, now or when it is called next, until a limit is set. Anybody may
// call it, also after Close, and it does not block.
func (l *Line) Interrupt() {
	l.Limit(time.Unix(1, 0))
	l.wake.Write(binary.NativeEndian.AppendUint64(nil, 1))
}

// Limit is until when Read waits, or lingerLimit longer; zero: for ever.
func (l *Line) Limit(t time.Time) error { return l.epoll.SetReadDeadline(t) }

// Read reads what has come, and waits if that is nothing.
func (l *Line) Read(b []byte) (int, error) {
	l.buf, l.got, l.err, l.lingered = b, 0, nil, false
	err := l.raw.Read(l.try)
	l.buf = nil
	l.rouse()
	switch {
	case err != nil:
		return 0, err
	case l.err != nil:
		return 0, l.err
	case l.got == 0:
		return 0, io.EOF
	}
	return l.got, nil
}

// rouse counts the line as awake again.
func (l *Line) rouse() {
	if l.forgotten {
		l.forgotten, l.roused = false, true
		l.awake.lines.Add(1)
	}
}

// receive tries to read, and says whether it could. If not, the epoll becomes ready when the socket does.
func (l *Line) receive(epoll uintptr) bool {
	l.rouse()
	if !l.lingered && l.mayLinger() {
		l.linger()
	}
	l.lingered = true
	if l.armed {
		if l.err = l.disarm(int(epoll)); l.err != nil {
			return true
		}
	}
	for {
		l.got, l.err = unix.Read(l.fd, l.buf)
		switch {
		case errors.Is(l.err, unix.EINTR):
			continue
		case !errors.Is(l.err, unix.EAGAIN):
			return true
		}
		if l.err = l.arm(int(epoll)); l.err != nil {
			return true
		}
		l.forgotten = true
		l.awake.lines.Add(-1)
		return false
	}
}

// mayLinger says whether that leaves a processor to the others. Those who were woken together with this goroutine may be
// queued up behind it: they are let pass first.
func (l *Line) mayLinger() bool {
	if l.roused && l.awake.lines.Load() <= l.awake.places {
		l.roused = false
		runtime.Gosched()
	}
	return l.awake.lines.Load() <= l.awake.places
}

// linger waits for the socket, or for an interruption.
func (l *Line) linger() {
	unix.Poll(l.polls[:], int(lingerLimit/time.Millisecond)) // whatever comes of it, receive tries
	if l.polls[1].Revents != 0 {
		l.wake.Read(make([]byte, 8))
	}
}

// arm makes the epoll ready once, when the socket is.
func (l *Line) arm(epoll int) error {
	if l.armed {
		return nil
	}
	l.armed = true
	return unix.EpollCtl(epoll, unix.EPOLL_CTL_MOD, l.fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLONESHOT})
}

// disarm takes that out, if it has happened: else every message would wake the runtime's poller as well.
func (l *Line) disarm(epoll int) error {
	var events [1]unix.EpollEvent
	n, err := unix.EpollWait(epoll, events[:], 0)
	if errors.Is(err, unix.EINTR) {
		return nil
	}
	l.armed = n == 0
	return err
}

// Send sends an answer. A client that does not read is given up.
func (l *Line) Send(b []byte) error {
	var limit time.Time
	for len(b) > 0 {
		n, err := unix.Write(l.fd, b)
		switch {
		case err == nil:
			b = b[n:]
		case errors.Is(err, unix.EINTR):
		case !errors.Is(err, unix.EAGAIN):
			return err
		case limit.IsZero():
			limit = time.Now().Add(writeLimit)
		case !l.room(time.Until(limit)):
			return os.ErrDeadlineExceeded
		}
	}
	return nil
}

// room waits until the socket takes more, and says whether there is time left for that.
func (l *Line) room(left time.Duration) bool {
	if left > 0 {
		unix.Poll([]unix.PollFd{{Fd: int32(l.fd), Events: unix.POLLOUT}}, int(left/time.Millisecond)+1)
	}
	return left > 0
}
