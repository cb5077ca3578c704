// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package virtualreader

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

const (
	resumeToken = "cbr1.0123456789abcdef.secret"
	testLease   = 5 * time.Minute
	testGrace   = 30 * time.Second
)

// holder is the far end of a tunnel: a card that counts, and the record of what was done, which outlives connections. It
// checks what a back end may send, and cuts connections as it is told.
type holder struct {
	t     testing.TB
	cut   func(step int) bool                                 // whether to cut the connection at this frame boundary; nil: never
	greet func(conn *socket.Conn, resume wire.Header) bool    // in place of Resumed, if it returns true; nil: Resumed
	bye   func(conn *socket.Conn)                             // says why, before a connection is cut; nil: nobody does
	lease time.Duration                                       // 0: testLease
	work  func()                                              // what the card does with the first command; nil: nothing that takes time
	mute  int                                                 // the connection of this number says nothing after its first answer
	admit func(number int, r *http.Request) *cardbroker.Error // refuses the connection of this number, from 1; nil: nobody

	one   chan struct{} // capacity 1: of the connection that is served
	steps int
	last  uint64         // seq of the last frame
	frame []byte         // it
	reply []byte         // its answer, without what follows Seq
	kind  wire.Type      // of the answer
	runs  map[uint64]int // how often the frame of a seq was executed

	atr atomic.Int32 // the second byte of the card's

	latest  sync.Mutex // of what follows
	number  int        // of connections that asked to be let in
	open    net.Conn   // the last
	running sync.WaitGroup
}

var errCutHere = errors.New("cut")

// start makes the holder ready.
func (h *holder) start(t testing.TB) {
	h.t, h.runs, h.one = t, map[uint64]int{}, make(chan struct{}, 1)
}

// ServeHTTP lets a back end in.
func (h *holder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.latest.Lock()
	h.number++
	if h.open != nil {
		h.open.Close() // a holder has one connection for a tunnel
	}
	h.open = r.Context().Value(http.LocalAddrContextKey).(linkAddr).link
	number, open := h.number, h.open
	h.latest.Unlock()
	if h.admit != nil {
		if err := h.admit(number, r); err != nil {
			api.WriteError(w, err)
			return
		}
	}
	if want := resumeToken; number > 1 && r.Header.Get("Cardbroker-Ticket") != want {
		h.t.Errorf("connection %d has the ticket %q, want %q", number, r.Header.Get("Cardbroker-Ticket"), want)
	}
	conn, err := tunnels.Upgrade(w, r)
	if err != nil {
		return
	}
	h.running.Go(func() {
		defer open.Close()
		h.one <- struct{}{}
		defer func() { <-h.one }()
		if err := h.serve(conn, number); err == errCutHere && h.bye != nil {
			h.bye(conn)
			conn.Receive()
		}
	})
}

func (h *holder) serve(conn *socket.Conn, number int) error {
	for first := true; ; first = false {
		head, payload, err := conn.Receive()
		if err == nil {
			err = h.boundary()
		}
		if err != nil {
			return err
		}
		switch {
		case number == h.mute && !first:
		case head.Type == wire.TypePing:
			err = conn.Send(wire.Header{Type: wire.TypePong}, payload)
		case first && head.Type == wire.TypeResume:
			err = h.resume(conn, head)
		case first != (head.Type == wire.TypeHello):
			h.t.Errorf("a frame of type %d is the first: %v", head.Type, first)
			return nil
		default:
			err = h.answer(conn, head, payload)
		}
		if err != nil {
			return err
		}
	}
}

func (h *holder) resume(conn *socket.Conn, head wire.Header) error {
	if head.Seq > h.last+1 || head.Seq < h.last || head.Ack > head.Seq || head.Seq-head.Ack > 1 || head.Ack > h.last {
		h.t.Errorf("Resume has seq %d and ack %d, the last frame was %d", head.Seq, head.Ack, h.last)
	}
	if h.greet != nil && h.greet(conn, head) {
		return nil
	}
	payload := wire.Resumed{Lease: cmp.Or(h.lease, testLease)}.Append(nil)
	if err := h.send(conn, wire.Header{Type: wire.TypeResumed}, payload); err != nil {
		return err // a card without Resumed before it breaks the protocol
	}
	return h.card(conn)
}

// card says which card is in the reader.
func (h *holder) card(conn *socket.Conn) error {
	return h.send(conn, wire.Header{Type: wire.TypeCardIn}, wire.CardIn{ATR: []byte{0x3B, byte(h.atr.Load())}}.Append(nil))
}

// answer executes a frame, or repeats the answer to the last one.
func (h *holder) answer(conn *socket.Conn, head wire.Header, payload []byte) error {
	frame := wire.Append(nil, head, payload)
	switch {
	case head.Seq == h.last+1 && head.Ack == h.last:
		h.last, h.frame = head.Seq, frame
		h.runs[head.Seq]++
		h.execute(head.Type, payload)
		if head.Seq == 2 && h.work != nil {
			h.work()
		}
	case head.Seq != h.last || !bytes.Equal(frame, h.frame):
		h.t.Errorf("the frame % x follows % x", frame, h.frame)
		return errCutHere
	}
	if err := h.send(conn, wire.Header{Type: h.kind, Seq: h.last}, h.reply); err != nil {
		return err
	}
	if head.Type == wire.TypeHello {
		return h.card(conn)
	}
	return nil
}

func (h *holder) execute(kind wire.Type, payload []byte) {
	switch kind {
	case wire.TypeHello:
		hello, err := wire.ParseHello(payload)
		w := wire.Welcome{Lease: cmp.Or(h.lease, testLease), Reader: "r"}
		if hello.Durability != cardbroker.DurabilityNone {
			w.Grace, w.Resume = testGrace, cardbroker.NewSecret([]byte(resumeToken))
		}
		if err != nil {
			h.t.Errorf("Hello = % x, %v", payload, err)
		}
		h.kind, h.reply = wire.TypeWelcome, w.Append(nil)
	case wire.TypeConnect:
		h.kind, h.reply = wire.TypeConnected, wire.CardIn{ATR: []byte{0x3B, 0}}.Append(nil)
	case wire.TypeAPDU:
		h.kind, h.reply = wire.TypeAPDUResponse, append(wire.Times{}.Append(nil), append(bytes.Clone(payload), 0x90, 0)...)
	case wire.TypeRenew:
		h.kind, h.reply = wire.TypeLease, bytes.Clone(payload)
	default:
		h.kind, h.reply = wire.TypeDone, nil
	}
}

func (h *holder) send(conn *socket.Conn, head wire.Header, payload []byte) error {
	if err := h.boundary(); err != nil {
		return err
	}
	if err := conn.Send(head, payload); err != nil {
		return err
	}
	return h.boundary()
}

// boundary is between two frames, or between a command and its answer.
func (h *holder) boundary() error {
	if h.steps++; h.cut != nil && h.cut(h.steps) {
		return errCutHere
	}
	return nil
}

// cutNow cuts the connection from outside.
func (h *holder) cutNow() {
	h.latest.Lock()
	defer h.latest.Unlock()
	h.open.Close()
}

// connections returns how many asked to be let in.
func (h *holder) connections() int {
	h.latest.Lock()
	defer h.latest.Unlock()
	return h.number
}

var tunnels = socket.NewMaker(wire.Subprotocol)

// link is an end of a connection in memory. Like TCP's, its writes wait for nobody, and what was written before it is closed
// arrives.
type link struct {
	net.Conn
	out    chan []byte
	closed chan struct{}
	once   *sync.Once
}

func newLink(conn net.Conn) link {
	l := link{Conn: conn, out: make(chan []byte, 64), closed: make(chan struct{}), once: new(sync.Once)}
	go func() {
		defer l.Conn.Close()
		for {
			select {
			case b := <-l.out:
				l.Conn.Write(b)
				continue
			default:
			}
			select {
			case b := <-l.out:
				l.Conn.Write(b)
			case <-l.closed:
				return
			}
		}
	}()
	return l
}

func (l link) Write(b []byte) (int, error) {
	select {
	case l.out <- bytes.Clone(b):
		return len(b), nil
	case <-l.closed:
		return 0, net.ErrClosed
	}
}

// Close cuts the connection: no close message says so.
func (l link) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.Conn.SetReadDeadline(time.Unix(1, 0))
		l.Conn.SetWriteDeadline(time.Now().Add(time.Second)) // for what is under way
	})
	return nil
}

func (l link) SetDeadline(t time.Time) error    { return l.Conn.SetReadDeadline(t) }
func (l link) SetWriteDeadline(time.Time) error { return nil }
func (l link) LocalAddr() net.Addr              { return linkAddr{l} }

// linkAddr is how a handler finds its connection.
type linkAddr struct{ link }

func (linkAddr) Network() string { return "link" }
func (linkAddr) String() string  { return "link" }

// pipes is a listener whose connections are made by dial, without a network.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return newLink(c), nil
}
func (p pipes) Close() error   { close(p); return nil } // once, by the server
func (p pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p pipes) dial(context.Context) (net.Conn, error) {
	near, far := net.Pipe()
	p <- far
	return newLink(near), nil
}
