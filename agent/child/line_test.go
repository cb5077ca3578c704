// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package child_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardbroker/cardbroker/agent/child"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// interrupted counts how often a wait on a connection was ended.
type interrupted struct {
	net.Conn
	times atomic.Int32
}

func (c *interrupted) SetReadDeadline(t time.Time) error {
	if !t.IsZero() && t.Before(time.Now()) {
		c.times.Add(1)
	}
	return c.Conn.SetReadDeadline(t)
}

// TestRest: the end of who has his answer, and rests, is nobody's business; of who asks again it is.
func TestRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		conn := &interrupted{Conn: ours}
		line := &child.Line{Stream: wire.NewStream(conn)}
		defer line.Close()
		for _, test := range []struct {
			name  string
			rests bool
			again bool
			want  int32
		}{{"asks", false, false, 1}, {"rests", true, false, 0}, {"asks again", true, true, 1}} {
			conn.times.Store(0)
			ctx, end := context.WithCancel(t.Context())
			ask := func() {
				if _, err := line.Ask(ctx, time.Now().Add(time.Minute)); err != nil {
					t.Fatal(err)
				}
			}
			ask()
			if test.rests {
				line.Rest()
			}
			if test.again {
				ask()
			}
			end()
			synctest.Wait()
			if n := conn.times.Load(); n != test.want {
				t.Errorf("who %s, and leaves: a wait is ended %d times, want %d", test.name, n, test.want)
			}
			line.Rest()
		}
	})
}
