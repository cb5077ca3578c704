// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// endLimit is how long a conversation's end waits for calls that still run. The process ends then, and they with it.
const endLimit = 500 * time.Millisecond

// conversation is the goroutines that serve the agent's streams. The first that returns ends it.
type conversation struct {
	conns   []net.Conn
	ended   chan error // one of each goroutine, and none waits
	working sync.WaitGroup
}

func newConversation(streams []net.Conn) *conversation {
	return &conversation{conns: streams, ended: make(chan error, wire.Streams+1)}
}

// work runs f in a goroutine.
func (c *conversation) work(f func() error) {
	c.working.Go(func() { c.ended <- f() })
}

// finish waits until a goroutine returns, whose error it returns, or ctx ends (nil). It calls cancel, closes the streams and says
// whether all the others have returned then.
func (c *conversation) finish(ctx context.Context, cancel func()) (all bool, err error) {
	select {
	case err = <-c.ended:
	case <-ctx.Done():
	}
	cancel()
	for _, conn := range c.conns {
		conn.Close()
	}
	return c.await(endLimit), err
}

// await waits for the goroutines, but no longer than limit.
func (c *conversation) await(limit time.Duration) bool {
	done := make(chan struct{})
	go func() {
		c.working.Wait()
		close(done)
	}()
	select {
	case <-done:
		return true
	case <-time.After(limit):
		return false
	}
}

// regular returns nil for the end of a stream, and any other error as it is.
func regular(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// appendRefusal appends what the agent is told of an error. What is not meant for others to see goes to the log, under the
// message.
func appendRefusal(dst []byte, message string, err error, log *slog.Logger) []byte {
	known, ok := errors.AsType[*cardbroker.Error](err)
	if !ok {
		log.Error(message, "err", err)
		known = cardbroker.Errorf(cardbroker.ReasonOf(err), "internal error")
	}
	return wire.AppendError(dst, known)
}
