// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package actor

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

// Dialer connects to the registry: as whom is its own affair.
type Dialer func(ctx context.Context, network, address string) (net.Conn, error)

// Holder holds a port for a session, and asserts it to the registry of the moment.
type Holder struct {
	Session cardbroker.SessionID
	Port    cardbroker.Port

	claim     string
	listeners []net.Listener
	link      *socket.Conn
}

// Hold binds a free port of those that agents may have.
func Hold(ctx context.Context, session string) (*Holder, error) {
	const first, last = 27010, 31999
	for {
		port := cardbroker.Port(first + rand.N(last-first+1))
		listeners, err := httpserver.ListenLoopback(ctx, port)
		if err == nil {
			claim := string(cardbroker.RandomSecret().Reveal())
			return &Holder{Session: cardbroker.SessionID(session), Port: port, claim: claim, listeners: listeners}, nil
		}
		if cardbroker.ReasonOf(err) != cardbroker.Conflict {
			return nil, err
		}
	}
}

// Assert opens a link and asserts the port on it. What the registry refuses is a cardbroker.Error with its reason.
func (h *Holder) Assert(ctx context.Context, maker *socket.Maker, port int, dial Dialer) (api.Registered, error) {
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	link, response, err := maker.Dial(ctx, socket.Dial{URL: "ws://" + address + "/local/v1/link", Net: func(ctx context.Context) (net.Conn, error) {
		return dial(ctx, "tcp", address)
	}})
	if err != nil {
		if response != nil {
			err = api.ReadError(response)
		}
		return api.Registered{}, err
	}
	claim := api.Claim{Session: h.Session, Claim: h.claim}
	if err := link.WriteJSON(api.FromAgent{Register: &api.Register{Claim: claim, IPv6: len(h.listeners) == 2, Port: h.Port}}); err != nil {
		link.Close()
		return api.Registered{}, err
	}
	for {
		var said api.FromBroker
		err := link.NextJSON(&said)
		switch {
		case err == nil && said.Registered != nil && said.Registered.Port != h.Port:
			err = fmt.Errorf("the registry says port %d of %s", said.Registered.Port, h.Session)
		case err == nil && said.Registered != nil:
			h.link = link
			return *said.Registered, nil
		case err == nil && said.Failed != nil:
			err = said.Failed.Error()
		}
		if err != nil {
			link.Close()
			return api.Registered{}, err
		}
	}
}

// Wait returns when the link ends.
func (h *Holder) Wait() {
	for {
		var said json.RawMessage
		if err := h.link.NextJSON(&said); err != nil {
			h.link.Close()
			return
		}
	}
}

// Close gives everything back.
func (h *Holder) Close() {
	if h.link != nil {
		h.link.Close()
	}
	for _, listener := range h.listeners {
		listener.Close()
	}
}

// How soon one dials again who has lost the registry: at once, and ever less often.
const (
	firstPause = 3 * time.Millisecond
	lastPause  = 100 * time.Millisecond
)

// refusedFor is how long a refusal may last that the end of the session's link before makes.
const refusedFor = time.Second

// Attach asserts the port until a registry has it, or refuses it for good.
func (h *Holder) Attach(ctx context.Context, maker *socket.Maker, port int, dial Dialer) (api.Registered, error) {
	var refused time.Time // since when
	for wait := firstPause; ; wait = min(2*wait, lastPause) {
		registered, err := h.Assert(ctx, maker, port, dial)
		switch reason := cardbroker.ReasonOf(err); {
		case err == nil:
			return registered, nil
		case reason == cardbroker.Unavailable: // nobody is there
			refused = time.Time{}
		case refused.IsZero():
			refused = time.Now()
		case time.Since(refused) > refusedFor:
			return registered, err
		}
		select {
		case <-time.After(wait/2 + rand.N(wait)):
		case <-ctx.Done():
			return registered, ctx.Err()
		}
	}
}
