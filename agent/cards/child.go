// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cards

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// child is one process of cardsandbox.
type child struct {
	cmd     *exec.Cmd
	control *wire.Stream
	links   [wire.Streams]*link // 0 is control and nil here
	stderr  *lines
	started time.Time
	ended   chan struct{}          // closed when the process has ended
	killed  atomic.Pointer[string] // why we killed it
	uses    int                    // open cards and late answers; owned by the loop
}

// reader is a reader of this child.
type reader struct {
	cardbroker.Reader
	number uint32
	stream uint8
}

// exit is how a child ended.
type exit struct {
	why    string // safe to show
	age    time.Duration
	killed bool // by us, for misbehaviour
}

const (
	startLimit = 10 * time.Second // from the start to the list of readers; a vendor's driver may be slow
	stopLimit  = time.Second      // from the end of the streams to the end of the process
)

// attend starts a child, tells the loop of it, and waits for its end, which it brings about when ctx ends.
func (s *Sandbox) attend(ctx context.Context) error {
	c, err := start(s.cfg)
	if err != nil {
		s.cfg.Log.Error("cannot start the sandbox", "err", err)
		return s.tell(func(st *state) { st.ended(exit{why: message(err)}) })
	}
	s.cfg.Log.Info("sandbox started", "pid", c.pid(), "dur", time.Since(c.started))
	unwatch := context.AfterFunc(ctx, c.stop)
	defer unwatch()
	err = c.follow(func(readers []reader) error {
		return s.tell(func(st *state) { st.told(c, readers) })
	})
	c.fail(err)
	e := c.wait()
	s.cfg.Log.Info("sandbox ended", "pid", c.pid(), "status", e.why, "dur", e.age)
	return s.tell(func(st *state) { st.ended(e) })
}

// message returns what of err is safe to show.
func message(err error) string {
	if e, ok := errors.AsType[*cardbroker.Error](err); ok {
		return e.Message
	}
	return "internal error"
}

// follow asks the child for its readers and reads what it says of them until the stream ends. It tells the whole list,
// first when it is complete and then after each change.
func (c *child) follow(tell func([]reader) error) error {
	if err := c.control.Conn().SetDeadline(c.started.Add(startLimit)); err != nil {
		return err
	}
	const watch = 1 // the only question on this stream
	if err := c.control.Send(wire.Header{Type: wire.TypeWatch, Seq: watch}, nil); err != nil {
		return err
	}
	complete := false
	var readers []reader
	for {
		h, payload, err := c.control.Receive()
		if err != nil {
			return err
		}
		switch {
		case h.Type == wire.TypeDone && h.Seq == watch && !complete:
			complete = true
			if err := c.control.Conn().SetDeadline(time.Time{}); err != nil {
				return err
			}
		case h.Seq != 0:
			return cardbroker.Errorf(cardbroker.Internal, "it answered what nobody asked")
		default:
			if readers, err = change(readers, h, payload); err != nil {
				return err
			}
		}
		if complete {
			if err := tell(readers); err != nil {
				return err
			}
		}
	}
}

// change returns a list that differs from readers by what the event says.
func change(readers []reader, h wire.Header, payload []byte) ([]reader, error) {
	at := slices.IndexFunc(readers, func(r reader) bool { return r.number == h.Reader })
	if at < 0 && h.Type == wire.TypeReaderAdd {
		return add(readers, h.Reader, payload)
	}
	if at < 0 || len(payload) > 0 && h.Type != wire.TypeCardIn {
		return nil, cardbroker.Errorf(cardbroker.Internal, "its event of type %d does not fit reader %d", h.Type, h.Reader)
	}
	readers = slices.Clone(readers)
	switch h.Type {
	case wire.TypeReaderRemove:
		return slices.Delete(readers, at, at+1), nil
	case wire.TypeCardOut:
		readers[at].Card = nil
	case wire.TypeCardIn:
		m, err := wire.ParseCardIn(payload)
		if err != nil {
			return nil, err
		}
		readers[at].Card = &cardbroker.Card{ATR: bytes.Clone(m.ATR), Protocol: m.Protocol}
	default:
		return nil, cardbroker.Errorf(cardbroker.Internal, "its event has the type %d", h.Type)
	}
	return readers, nil
}

// add returns the list with a reader more, by name.
func add(readers []reader, number uint32, payload []byte) ([]reader, error) {
	m, err := wire.ParseReaderAdd(payload)
	if err != nil {
		return nil, err
	}
	for _, r := range readers {
		if r.stream == m.Stream || r.Name == m.Name {
			return nil, cardbroker.Errorf(cardbroker.Internal, "it has two readers of one name or on one stream")
		}
	}
	at, _ := slices.BinarySearchFunc(readers, m.Name, func(r reader, name string) int { return strings.Compare(r.Name, name) })
	added := reader{Reader: cardbroker.Reader{Name: m.Name, PINPad: m.PINPad}, number: number, stream: m.Stream}
	return slices.Insert(slices.Clone(readers), at, added), nil
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// kill ends the process now. why is safe to show; the first one counts.
func (c *child) kill(why string) {
	if c.killed.CompareAndSwap(nil, &why) {
		c.cmd.Process.Kill() // fails only when it is gone
	}
}

// stop asks the process to end: it does when its control stream does, and [child.wait] sees to it.
func (c *child) stop() { c.control.Close() }

// fail ends a child after an error on one of its streams: it is killed if it hangs or does not keep to the protocol.
// After anything else it has ended, or has been told to.
func (c *child) fail(err error) {
	if isTimeout(err) {
		c.kill("it did not answer in time")
	} else if broken, ok := errors.AsType[*cardbroker.Error](err); ok {
		c.kill(broken.Message)
	} else {
		c.stop()
	}
}

// wait waits for the end of the process, which is near because its control stream has ended, and frees what it had.
func (c *child) wait() exit {
	c.stop()
	timer := time.AfterFunc(stopLimit, func() { c.kill("it did not end when it was told to") })
	c.cmd.Wait() // its error says what ProcessState says
	timer.Stop()
	c.closeStreams()
	close(c.ended)
	e := exit{why: c.cmd.ProcessState.String(), age: time.Since(c.started)}
	if why := c.killed.Load(); why != nil {
		e.why, e.killed = "killed: "+*why, true
	}
	if last := c.stderr.last(); last != "" {
		e.why = fmt.Sprintf("%s (%s)", e.why, last)
	}
	return e
}

// closeStreams closes our ends, as far as they were made.
func (c *child) closeStreams() {
	if c.control != nil {
		c.control.Close()
	}
	for _, l := range c.links {
		if l != nil {
			l.stream.Close()
		}
	}
}
