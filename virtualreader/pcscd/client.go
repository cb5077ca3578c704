// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcscd

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/pcscd/line"
)

// holdLimit is how long the answer to a Begin is held back while another client has a transaction. libpcsclite keeps the
// other threads of the context waiting meanwhile, so the client is told to ask again now and then: it lets them pass and
// asks again after 100 ms.
const holdLimit = time.Second

// client is one connection. Its goroutine alone uses it, but for what says otherwise.
type client struct {
	server  *Server
	line    *line.Line
	in      input
	out     []byte
	handles map[uint32]*handle
	pending *pending // a request that is not answered yet
	minor   uint32   // of the protocol's version
	counted int      // readers, as told last by cmdCount; -1: never
	listing bool     // it waits for an event, and has to get the answers to cmdCount and cmdAllStates before that

	context atomic.Uint32 // 0: none; written with the state
	event   chan uint32   // capacity 1: ends a wait; sent with the state
}

// pending is a request that waits for the end of another client's transaction.
type pending struct {
	request *request
	message []byte // its body, which becomes the answer
	limit   time.Time
}

// errClient ends a connection whose client does what no client does.
var errClient = errors.New("a PC/SC client broke the protocol")

func newClient(s *Server, l *line.Line) *client {
	return &client{
		server:  s,
		line:    l,
		in:      input{from: l},
		handles: make(map[uint32]*handle),
		minor:   minorLow,
		counted: -1,
		event:   make(chan uint32, 1),
	}
}

// interrupt makes the client look at what it waits for. Anybody may call it; it does not block.
func (c *client) interrupt() { c.line.Interrupt() }

// serve answers messages until the client leaves, breaks the protocol or ctx ends, after which it is interrupted.
func (c *client) serve(ctx context.Context) error {
	for {
		m, err := c.in.next()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			err = c.awake(ctx)
		case err != nil:
		case c.pending != nil:
			err = errClient
		default:
			err = c.handle(ctx, m)
		}
		if err != nil {
			return err
		}
	}
}

// awake looks at what the client waits for, after its reading was interrupted.
func (c *client) awake(ctx context.Context) error {
	var limit time.Time
	if c.pending != nil {
		limit = c.pending.limit
	}
	// Before the look: what comes after it interrupts again.
	if err := errors.Join(c.line.Limit(limit), ctx.Err()); err != nil {
		return err
	}
	if err := c.passEvent(); err != nil || c.pending == nil {
		return err
	}
	select {
	case code := <-c.pending.request.code:
		return c.resume(ctx, code)
	default:
	}
	if limit.IsZero() || time.Now().Before(limit) {
		return nil
	}
	return c.putOff(ctx)
}

// wait leaves a request unanswered for now.
func (c *client) wait(q *request, body []byte, limit time.Duration) error {
	c.pending = &pending{request: q, message: append([]byte(nil), body...)}
	if limit > 0 {
		c.pending.limit = time.Now().Add(limit)
	}
	c.interrupt() // the request may have been granted already, and the limit has to be set
	return nil
}

// resume goes on with the request that waited.
func (c *client) resume(ctx context.Context, code uint32) error {
	p := c.pending
	c.pending = nil
	if p.request.handle == nil {
		return c.connect(ctx, p.message)
	}
	if code == success {
		code = c.began(ctx, p.request.handle)
	}
	return c.answer(p.message, 4, code)
}

// putOff tells the client to ask again for a transaction, unless it has it by now.
func (c *client) putOff(ctx context.Context) error {
	q := c.pending.request
	waits := false
	c.server.do(func(st *state) { waits = st.putOff(q) })
	if waits {
		return c.resume(ctx, sharingViolation)
	}
	return nil // it was answered, which interrupts
}

func (c *client) send(b []byte) error { return c.line.Send(b) }

// answer sends a body back with a code in it.
func (c *client) answer(body []byte, at int, code uint32) error {
	put(body, at, code)
	return c.send(body)
}

// handle answers one message.
func (c *client) handle(ctx context.Context, m message) error {
	switch m.command {
	case cmdVersion:
		return c.version(m.body)
	case cmdEstablish:
		return c.establish(m.body)
	case cmdRelease:
		return c.release(ctx, m.body)
	case cmdCancel:
		code := success
		c.server.do(func(st *state) { code = st.cancel(get(m.body, 0)) })
		return c.answer(m.body, 4, code)
	case cmdConnect:
		return c.connect(ctx, m.body)
	case cmdStates:
		return c.send(c.server.view.Load().states[:fixedStates*stateSize])
	case cmdWait:
		return c.startWait()
	case cmdStopWait:
		return c.stopWait()
	case cmdEvents:
		var b [8]byte
		put(b[:], 0, c.server.view.Load().events)
		return c.send(b[:])
	case cmdCount:
		return c.count()
	case cmdAllStates:
		return c.allStates()
	}
	h := c.handles[get(m.body, 0)]
	if h == nil || c.context.Load() == 0 { // another client's, or one that was made up
		return errClient
	}
	return c.use(ctx, h, m)
}

// use answers a message about a handle.
func (c *client) use(ctx context.Context, h *handle, m message) error {
	switch m.command {
	case cmdTransmit:
		return c.transmit(ctx, h, m)
	case cmdBegin:
		return c.begin(ctx, h, m.body)
	case cmdEnd:
		return c.answer(m.body, 8, c.end(ctx, h, cardbroker.Disposition(get(m.body, 4))))
	case cmdStatus:
		return c.answer(m.body, 4, h.usable())
	case cmdReconnect:
		return c.reconnect(ctx, h, m.body)
	case cmdDisconnect:
		return c.answer(m.body, 8, c.disconnect(ctx, h, cardbroker.Disposition(get(m.body, 4))))
	case cmdControl:
		return c.control(ctx, h, m)
	case cmdGetAttrib:
		return c.attribute(ctx, h, m.body)
	case cmdSetAttrib:
		return c.answer(m.body, 8+attrSize+4, unsupportedFeature)
	}
	return errClient
}

// version agrees on a version of the protocol.
func (c *client) version(body []byte) error {
	major, minor := get(body, 0), get(body, 4)
	code := success
	if major != versionMajor || int32(minor) < minorLow {
		code, minor = serviceStopped, minorHigh
	}
	c.minor = min(minor, minorHigh)
	put(body, 0, versionMajor)
	put(body, 4, c.minor)
	return c.answer(body, 8, code)
}

// maxScope is SCARD_SCOPE_GLOBAL.
const maxScope = 3

// establish makes a context: a connection has one.
func (c *client) establish(body []byte) error {
	if get(body, 0) > maxScope {
		return c.answer(body, 8, invalidValue)
	}
	c.server.do(func(st *state) { st.establish(c) })
	put(body, 4, c.context.Load())
	return c.answer(body, 8, success)
}

// release ends the context and all handles.
func (c *client) release(ctx context.Context, body []byte) error {
	switch c.context.Load() {
	case 0:
		return c.answer(body, 4, invalidHandle)
	case get(body, 0):
		c.leave(ctx)
		return c.answer(body, 4, success)
	}
	return c.answer(body, 4, invalidValue)
}

// leave ends all that the client has. The card is reset where the client held a transaction: nobody is to find what it has
// begun, or a PIN verified.
func (c *client) leave(ctx context.Context) {
	c.server.do(func(st *state) { st.release(c) })
	for _, h := range c.handles {
		d := cardbroker.LeaveCard
		if h.reader.holder.Load() == h && h.trouble.Load() == success {
			d = cardbroker.ResetCard
		}
		c.drop(ctx, h, d)
	}
}
