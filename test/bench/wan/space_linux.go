// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package wan

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/test/bench/bare"
)

// space is a network of our own, in which connections to a listener of ours go over a loopback with a queueing discipline: tc(8).
// What arrives there goes on to the target, outside.
type space struct {
	dials chan chan<- dialled
	ended <-chan struct{}
}

type dialled struct {
	conn net.Conn
	err  error
}

// newSpace makes one, which ends with the group. It needs root, and a kernel that has the discipline.
func newSpace(group *run.Group, target string, discipline ...string) (*space, error) {
	s := &space{dials: make(chan chan<- dialled), ended: group.Context().Done()}
	made := make(chan dialled, 1)
	group.Go("network", func(ctx context.Context) error {
		leave, inner, err := enter(discipline)
		defer leave()
		if err != nil {
			made <- dialled{err: err}
			return nil
		}
		defer inner.Close()
		group.Go("accept", func(context.Context) error { return s.accept(group, inner, target) })
		made <- dialled{}
		for {
			select {
			case asked := <-s.dials:
				conn, err := bare.Dial(ctx, inner.Addr().String())
				asked <- dialled{conn, err} // capacity 1
			case <-ctx.Done():
				return nil
			}
		}
	})
	return s, (<-made).err
}

// enter puts the goroutine, with a thread of its own, into a new network, and listens there. leave brings the thread back: one that
// ended would take the children along that were started by it, and are to die with who started them.
func enter(discipline []string) (leave func(), inner net.Listener, err error) {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return runtime.UnlockOSThread, nil, err
	}
	leave = func() {
		defer home.Close()
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		home.Close()
		return runtime.UnlockOSThread, nil, err
	}
	for _, command := range [][]string{
		{"ip", "link", "set", "lo", "up"},
		append([]string{"tc", "qdisc", "add", "dev", "lo", "root"}, discipline...),
	} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			return leave, nil, fmt.Errorf("%v: %w: %s", command, err, out)
		}
	}
	inner, err = httpserver.Listen(context.Background(), "tcp4", "127.0.0.1:0")
	return leave, inner, err
}

// accept has each connection go on to the target.
func (s *space) accept(group *run.Group, inner net.Listener, target string) error {
	for {
		conn, err := inner.Accept()
		if err != nil {
			return err
		}
		group.Go("connection", func(ctx context.Context) error {
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			far, err := bare.Dial(ctx, target)
			if err != nil {
				return err
			}
			l := &Link{Netem: true, conns: make(map[net.Conn]struct{})}
			l.join(group, conn, func(context.Context) (net.Conn, error) { return far, nil })
			return nil
		})
	}
}

// dial connects to the target through the network.
func (s *space) dial(ctx context.Context) (net.Conn, error) {
	asked := make(chan dialled, 1)
	select {
	case s.dials <- asked:
		got := <-asked
		return got.conn, got.err
	case <-s.ended:
		return nil, ctx.Err()
	}
}
