// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package socket is how the program uses WebSockets: one message is one frame or one JSON object. It owns the settings
// that were measured (buffers, deadlines, no compression) and turns close codes into errors and back. Whoever makes a
// [Conn] owns the goroutine that reads it; a [Push] has one of its own.
//
// A connection that waits costs about 5 KiB, if the HTTP handler that made it has returned.
package socket

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

const (
	writeTimeout = 10 * time.Second // a peer that takes nothing for so long, or an eighth less, is cut off
	closeTimeout = time.Second      // for the other side's close message
)

// Conn is one WebSocket. Messages are read by one goroutine at a time; anybody may write, shut down and close.
// After any error, a passed deadline too, the conversation is over.
type Conn struct {
	ws     *websocket.Conn
	maker  *Maker
	silent time.Duration
	armed  time.Time // when the read deadline was last set; of the reading goroutine
	in     *buffer   // the message that Next returned last; of the reading goroutine

	write    sync.Mutex // held for one write, which has a deadline
	closing  atomic.Bool
	farewell sync.Once
}

var _ wire.Conn = (*Conn)(nil)

// buffer is what a message is read into or built in. A connection holds one only while it has a message.
type buffer struct{ b []byte }

// NetConn returns the connection that the messages travel on; it is only asked, not used.
func (c *Conn) NetConn() net.Conn { return c.ws.NetConn() }

// LimitSilence makes reading fail with Timeout when nothing has arrived for d, give or take an eighth. It is called
// before the first message is read; 0, as in the beginning, is no limit.
func (c *Conn) LimitSilence(d time.Duration) { c.silent = d }

// Within runs f, which talks to the other side, and closes the connection when that takes longer than d. Errors: Timeout then; f's.
func Within[T any](c *Conn, d time.Duration, f func() (T, error)) (T, error) {
	late := time.AfterFunc(d, func() { c.Close() })
	answer, err := f()
	if !late.Stop() {
		return answer, cardbroker.Errorf(cardbroker.Timeout, "the other side has not answered within %v", d)
	}
	return answer, err
}

// Next returns the next message, which is valid until Next is called again. The other side's regular end is io.EOF, that of
// its program Canceled; a
// message of the other kind (text, binary) is Invalid, one over wire.MaxFrame TooLarge, silence Timeout, a connection that
// was cut Unavailable; what a close code says, see [Conn.Shutdown].
func (c *Conn) Next() ([]byte, error) {
	c.release()
	c.arm()
	kind, r, err := c.ws.NextReader()
	if err != nil {
		return nil, readError(err)
	}
	if kind != c.maker.kind {
		return nil, cardbroker.Errorf(cardbroker.Invalid, "a message of type %d, want %d", kind, c.maker.kind)
	}
	c.in = c.maker.buffer()
	if err := c.in.fill(r); err != nil {
		c.release() // nobody asks for another
		return nil, readError(err)
	}
	return c.in.b, nil
}

// release wipes the last message, which may hold a key, and gives its buffer back.
func (c *Conn) release() {
	if c.in != nil {
		c.maker.recycle(c.in)
		c.in = nil
	}
}

// arm sets the read deadline, but not for every message: it costs as much as a small message itself.
func (c *Conn) arm() {
	if c.silent == 0 || c.closing.Load() {
		return
	}
	if now := time.Now(); now.Sub(c.armed) > c.silent/8 {
		c.armed = now
		c.ws.SetReadDeadline(now.Add(c.silent))
		if c.closing.Load() { // Shutdown came between: its deadline counts
			c.ws.SetReadDeadline(now.Add(closeTimeout))
		}
	}
}

// fill reads a whole message. The connection's read limit bounds it.
func (b *buffer) fill(r io.Reader) error {
	n := 0
	b.b = b.b[:cap(b.b)]
	for {
		if n == len(b.b) {
			grown := make([]byte, min(4*n, wire.MaxFrame+1))
			copy(grown, b.b)
			clear(b.b)
			b.b = grown
		}
		got, err := r.Read(b.b[n:])
		n += got
		if err == io.EOF {
			b.b = b.b[:n]
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Write sends one message in one write, which may take 10 seconds, or an eighth less. It keeps nothing of message.
func (c *Conn) Write(message []byte) error {
	c.write.Lock()
	defer c.write.Unlock()
	c.ws.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err := c.ws.WriteMessage(c.maker.kind, message); err != nil {
		return writeError(err)
	}
	return nil
}

// Send implements [wire.Conn]; unlike there, any number of goroutines may call it.
func (c *Conn) Send(h wire.Header, payload []byte) error {
	out := c.maker.buffer()
	defer c.maker.recycle(out)
	out.b = wire.Append(out.b[:0], h, payload)
	return c.Write(out.b)
}

// Receive implements [wire.Conn].
func (c *Conn) Receive() (wire.Header, []byte, error) {
	frame, err := c.Next()
	if err != nil {
		return wire.Header{}, nil, err
	}
	return wire.Parse(frame)
}

// Shutdown tells the other side that the conversation ends and why, by a close code and the message of a
// [cardbroker.Error]; nil and io.EOF are a regular end. Reading goes on until the other side has answered, a second at
// most. Only the first call counts.
func (c *Conn) Shutdown(why error) {
	c.farewell.Do(func() {
		c.closing.Store(true)
		code, text := closeCode(why)
		until := time.Now().Add(closeTimeout)
		c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, text), until)
		c.ws.SetReadDeadline(until)
	})
}

// Close ends the connection, with a regular Shutdown if there was none, and ends a read that waits.
func (c *Conn) Close() error {
	c.Shutdown(nil)
	return c.ws.Close()
}

// writeError hides what gorilla says of a connection that has ended already.
func writeError(err error) error {
	if errors.Is(err, websocket.ErrCloseSent) {
		return cardbroker.Wrapf(err, cardbroker.Unavailable, "the connection is closing")
	}
	return ioError(err)
}
