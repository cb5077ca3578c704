// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package calls

import (
	"context"
	"io"
	"net"
	"sync/atomic"

	"github.com/cardbroker/cardbroker/internal/run"
)

// Counter stands before a PC/SC service and counts what is asked of it.
type Counter struct{ asked atomic.Int64 }

// Count passes what connects to path on to the service at socket. The directory of path is the caller's.
func Count(group *run.Group, path, socket string) (*Counter, error) {
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	c := &Counter{}
	context.AfterFunc(group.Context(), func() { listener.Close() })
	group.Go("accept", func(ctx context.Context) error {
		for {
			front, err := listener.AcceptUnix()
			if err != nil {
				return err
			}
			group.Go("client", func(ctx context.Context) error {
				c.join(ctx, group, front, socket)
				return nil
			})
		}
	})
	return c, nil
}

// Asked returns how many pieces clients have sent so far: one or two for each call.
func (c *Counter) Asked() int64 { return c.asked.Load() }

// join passes a connection on until either side ends it.
func (c *Counter) join(ctx context.Context, group *run.Group, front *net.UnixConn, socket string) {
	defer front.Close()
	back, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return
	}
	defer back.Close()
	stop := context.AfterFunc(ctx, func() {
		front.Close()
		back.Close()
	})
	defer stop()
	group.Go("answers", func(context.Context) error {
		io.Copy(front, back)
		front.Close()
		return nil
	})
	buf := make([]byte, 4096)
	for {
		n, err := front.Read(buf)
		if err != nil {
			return
		}
		c.asked.Add(1)
		if _, err := back.Write(buf[:n]); err != nil {
			return
		}
	}
}
