// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package virtualreader

import (
	"context"
	"encoding/binary"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

// stage is a back end that reaches a holder through brokers, in a bubble of its own time.
type stage struct {
	*holder
	brokers []string
	pipes   pipes

	dials sync.Mutex                // of what follows
	down  func(broker string) error // why it cannot be reached; nil: it can
	asked []string                  // brokers that were dialled
}

// onStage runs f in a bubble.
func onStage(t *testing.T, h *holder, f func(t *testing.T, s *stage)) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{holder: h, brokers: []string{"one"}, pipes: make(pipes)}
		h.start(t)
		server := http.Server{Handler: h}
		var serving sync.WaitGroup
		serving.Go(func() { server.Serve(s.pipes) })
		f(t, s)
		h.running.Wait()
		server.Close()
		serving.Wait()
		time.Sleep(2 * time.Second) // closed links drain
	})
}

func (s *stage) dial(ctx context.Context, to target) (*socket.Conn, error) {
	if err := s.reach(to.broker); err != nil {
		return nil, err
	}
	header := http.Header{"Cardbroker-Ticket": {to.ticket}}
	conn, response, err := tunnels.Dial(ctx, socket.Dial{URL: "ws://" + to.broker + to.path, Header: header, Net: s.pipes.dial})
	if response != nil {
		return nil, api.ReadError(response)
	}
	return conn, err
}

func (s *stage) reach(broker string) error {
	s.dials.Lock()
	defer s.dials.Unlock()
	s.asked = append(s.asked, broker)
	if s.down == nil {
		return nil
	}
	return s.down(broker)
}

// whileDown says why brokers cannot be reached from now on; nil: they can.
func (s *stage) whileDown(down func(broker string) error) {
	s.dials.Lock()
	defer s.dials.Unlock()
	s.down = down
}

// wereAsked returns the brokers that were dialled.
func (s *stage) wereAsked() []string {
	s.dials.Lock()
	defer s.dials.Unlock()
	return slices.Clone(s.asked)
}

// tunnel opens a tunnel through the first broker.
func (s *stage) tunnel(ctx context.Context) (*Tunnel, error) {
	conn, err := s.dial(ctx, target{broker: s.brokers[0], path: "/cb/v1/readers/-/tunnel", ticket: "cbt1"})
	if err != nil {
		return nil, err
	}
	hello, _ := Options{}.hello()
	return newTunnel(ctx, conn, hello, s.dial, s.brokers)
}

// withTunnel runs f with an open tunnel, in a bubble.
func withTunnel(t *testing.T, h *holder, f func(t *testing.T, s *stage, tunnel *Tunnel)) {
	onStage(t, h, func(t *testing.T, s *stage) {
		tunnel, err := s.tunnel(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		f(t, s, tunnel)
		tunnel.Close()
	})
}

// pass lets time pass in a bubble.
func pass(d time.Duration) { time.Sleep(d) }

// command is the nth of a back end's.
func command(n int) []byte {
	return binary.BigEndian.AppendUint16([]byte{0, 0xA4}, uint16(n))
}
