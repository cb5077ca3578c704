// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package actor

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

// What a writer notes, a line each, before anything else happens; the file is on the disk then:
//
//	acknowledged SESSION PORT EPOCH NANOSECONDS
//	refused SESSION PORT 0 NANOSECONDS REASON
//	released SESSION PORT 0 NANOSECONDS
const (
	Acknowledged = "acknowledged"
	Refused      = "refused"
	Released     = "released"
)

// writerHolds is how many ports a writer has at a time.
const writerHolds = 3

// Registry is where one may be: at the socket of a service, else at the well-known port.
type Registry struct {
	Port   int
	Socket string
}

// Write is a writer: it takes ports, notes what the registry has acknowledged, asserts it to every new one, and gives it back
// after a while, until ctx ends.
func Write(ctx context.Context, at Registry, name, file string) error {
	notes, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer notes.Close()
	w := &writer{at: at, notes: notes, maker: socket.NewMaker(api.LinkProtocol)}
	done := make(chan error, writerHolds)
	for i := range writerHolds {
		go func() { done <- w.hold(ctx, fmt.Sprintf("%s-%d", name, i)) }()
	}
	return <-done
}

type writer struct {
	at    Registry
	notes *os.File // one write is one line
	maker *socket.Maker
}

// hold holds one port after the other, for one session.
func (w *writer) hold(ctx context.Context, session string) error {
	for ctx.Err() == nil {
		h, err := Hold(ctx, session)
		if err != nil {
			return err
		}
		if err := w.life(ctx, h); err != nil {
			return err
		}
	}
	return nil
}

// life asserts a port again and again, until its time is over. What was never acknowledged nobody has lost.
func (w *writer) life(ctx context.Context, h *Holder) error {
	defer h.Close()
	over := time.Now().Add(100*time.Millisecond + rand.N(2*time.Second))
	for known := false; ; known = true {
		registered, err := h.Attach(ctx, w.maker, w.at.Port, w.at.dial)
		switch {
		case err == nil:
			err = w.note(Acknowledged, h, registered.Epoch, "")
		case ctx.Err() == nil && known:
			err = w.note(Refused, h, 0, string(cardbroker.ReasonOf(err)))
			return err
		default:
			return nil
		}
		if err != nil {
			return err
		}
		ended := make(chan struct{})
		go func() { h.Wait(); close(ended) }()
		select {
		case <-ended:
			continue // the registry is gone: the next is to have the same
		case <-time.After(time.Until(over)):
		case <-ctx.Done():
		}
		err = w.note(Released, h, 0, "")
		h.link.Close()
		<-ended
		return err
	}
}

// note writes a line, and waits for the disk.
func (w *writer) note(what string, h *Holder, epoch uint64, why string) error {
	line := fmt.Sprintf("%s %s %d %d %d %s\n", what, h.Session, h.Port, epoch, time.Now().UnixNano(), why)
	if _, err := w.notes.WriteString(line); err != nil {
		return err
	}
	return w.notes.Sync()
}

// dial connects to the service, if one is there; else to the address, which is that of the well-known port.
func (r Registry) dial(ctx context.Context, network, address string) (net.Conn, error) {
	var dialer net.Dialer
	dialer.SetMultipathTCP(false)
	if conn, err := dialer.DialContext(ctx, "unix", r.Socket); err == nil {
		return conn, nil
	}
	return dialer.DialContext(ctx, network, address)
}
