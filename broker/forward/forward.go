// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package forward joins a browser's connection, which ends at the broker, with its agent's leg: bytes are copied both ways
// and looked at by nobody. It knows neither who may be joined with whom nor what is spoken.
package forward

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/cardbroker/cardbroker/internal/run"
)

const (
	idleBuffer   = 1 << 10                // of each direction, all the time: most requests fit
	busyBuffer   = 16 << 10               // of a direction that has more to say: one TLS record
	writeTimeout = 2 * time.Minute        // a side that takes nothing for so long is cut off
	lingerTime   = 500 * time.Millisecond // for what a browser still sends to an agent that has closed
)

// Browser is the browser's end.
type Browser interface {
	// Stream is what is spoken on: TLS over the connection, or the connection itself.
	Stream() net.Conn
	// StillThere says whether whoever was attested still holds the connection.
	StillThere() error
	// CloseWrite tells the browser that nothing more will come.
	CloseWrite() error
	Close() error
}

// Leg is the agent's end.
type Leg interface {
	net.Conn
	CloseWrite() error
}

// Splicer joins connections, which share their buffers.
type Splicer struct {
	buffers sync.Pool // of *[busyBuffer]byte
}

// New returns a Splicer.
func New() *Splicer {
	return &Splicer{buffers: sync.Pool{New: func() any { return new([busyBuffer]byte) }}}
}

// Splice joins a browser with its agent's leg until both directions have ended, one of them has failed, or ctx ends, and
// closes both. When it returns, nothing of it runs any more. Of what a browser has sent, nothing is passed on once the
// kernel does not say any more that it is the one who was attested.
func (s *Splicer) Splice(ctx context.Context, browser Browser, leg Leg) {
	stream := browser.Stream()
	group := run.New(ctx)
	cut := make(chan struct{})
	context.AfterFunc(group.Context(), func() { // ends what waits
		defer close(cut)
		browser.Close()
		leg.Close()
	})
	group.Go("forth", func(context.Context) error {
		err := s.pump(leg, checked{stream, browser})
		switch {
		case err == nil:
			return leg.CloseWrite() // the agent still answers
		case errors.Is(err, os.ErrDeadlineExceeded): // it takes nothing any more
			return err
		}
		io.Copy(io.Discard, stream) // what is left unread would cost the browser an answer that is under way
		if errors.Is(err, errWrite) {
			return nil // the agent has closed: back ends by itself
		}
		return err
	})
	group.Go("back", func(context.Context) error {
		if err := s.pump(stream, leg); errors.Is(err, errWrite) {
			return err
		}
		return farewell(browser) // however the agent has ended: a reset, where it has left something unread
	})
	group.Wait()
	<-cut
}

// farewell tells a browser that its agent has closed, and lets it take what is under way.
func farewell(browser Browser) error {
	stream := browser.Stream()
	stream.SetReadDeadline(time.Now().Add(lingerTime))
	if half, ok := stream.(interface{ CloseWrite() error }); ok {
		half.CloseWrite() // of TLS: its alert only
	}
	return browser.CloseWrite()
}

// checked reads from a browser that is still there.
type checked struct {
	io.Reader
	browser Browser
}

// Read returns nothing that came from a browser that has gone.
func (c checked) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if n > 0 {
		if gone := c.browser.StillThere(); gone != nil {
			return 0, gone
		}
	}
	return n, err
}

// errWrite says that the other side takes no more.
var errWrite = errors.New("cannot write")

// pump copies until from ends, which is no error. While it waits it holds a small buffer only.
func (s *Splicer) pump(to net.Conn, from io.Reader) error {
	idle := make([]byte, idleBuffer)
	for {
		n, err := copyOnce(to, from, idle)
		if err == nil && n == len(idle) {
			err = s.burst(to, from)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// burst copies with a large buffer for as long as there is much to copy.
func (s *Splicer) burst(to net.Conn, from io.Reader) error {
	buffer := s.buffers.Get().(*[busyBuffer]byte)
	defer func() {
		clear(buffer[:]) // the next connection is somebody else's
		s.buffers.Put(buffer)
	}()
	for {
		n, err := copyOnce(to, from, buffer[:])
		if err != nil || n < len(buffer)/4 {
			return err
		}
	}
}

// copyOnce copies what one read brings.
func copyOnce(to net.Conn, from io.Reader, buffer []byte) (int, error) {
	n, err := from.Read(buffer)
	if n == 0 {
		return 0, err
	}
	to.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, failed := to.Write(buffer[:n]); failed != nil {
		return n, errors.Join(errWrite, failed)
	}
	return n, err
}
