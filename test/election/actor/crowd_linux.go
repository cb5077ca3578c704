// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package actor

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/test/stage"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

// CrowdSays is a line that a crowd prints each time that all of it is attached to one registry.
type CrowdSays struct {
	Epoch    uint64
	Attached int
	At       time.Time // when the last one was
}

// Watch is a crowd: for each of the users, each links' sessions that hold a port and a link to whoever is the registry. It
// needs root, as it plays all these users itself.
func Watch(ctx context.Context, port int, first uint32, users, each int, out io.Writer) error {
	maker := socket.NewMaker(api.LinkProtocol)
	attached, failed := make(chan uint64), make(chan error, users*each)
	for i := range users {
		uid := first + uint32(i)
		asking := make(chan func()) // one thread makes a user's connections
		go func() {
			failed <- stage.As(uid, func() {
				for ask := range asking {
					ask()
				}
			})
		}()
		for n := range each {
			go func() { failed <- watch(ctx, maker, port, fmt.Sprint("w", n), asking, attached) }()
		}
	}
	return tell(json.NewEncoder(out), attached, failed, users*each)
}

// watch is one session, for good.
func watch(ctx context.Context, maker *socket.Maker, port int, session string, asking chan<- func(), attached chan<- uint64) error {
	var h *Holder
	var err error
	as(asking, func() { h, err = Hold(ctx, session) })
	if err != nil {
		return err
	}
	defer h.Close()
	dial := func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		var dialer net.Dialer
		dialer.SetMultipathTCP(false)
		as(asking, func() { conn, err = dialer.DialContext(ctx, network, address) })
		return conn, err
	}
	for {
		registered, err := h.Attach(ctx, maker, port, dial)
		if err != nil {
			return fmt.Errorf("%s at port %d: %w", session, h.Port, err)
		}
		attached <- registered.Epoch
		h.Wait()
	}
}

// as has the user's thread call f.
func as(asking chan<- func(), f func()) {
	done := make(chan struct{})
	asking <- func() { f(); close(done) }
	<-done
}

// tell tells when all have the same registry.
func tell(out *json.Encoder, attached <-chan uint64, failed <-chan error, all int) error {
	var epoch uint64
	count := 0
	for {
		select {
		case at := <-attached:
			if at > epoch {
				epoch, count = at, 0
			}
			if at == epoch {
				count++
			}
			if count == all {
				if err := out.Encode(CrowdSays{Epoch: epoch, Attached: count, At: time.Now()}); err != nil {
					return err
				}
			}
		case err := <-failed:
			return err
		}
	}
}
