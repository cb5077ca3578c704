// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strconv"

	"github.com/gorilla/websocket"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/peer"
)

// Agent asks the caller's own agent on its loopback port. Make it with [NewAgent].
type Agent struct {
	port   cardbroker.Port
	kernel *peer.Kernel
	http   *http.Client
}

// NewAgent returns a client of the agent on that port. It refuses to talk to a program of another user. Close it.
func NewAgent(port cardbroker.Port) *Agent {
	a := &Agent{port: port, kernel: peer.NewKernel()}
	a.http = &http.Client{Transport: &http.Transport{DialContext: a.dial, DisableKeepAlives: true}}
	return a
}

// Close gives the client's resources back.
func (a *Agent) Close() { a.kernel.Close() }

// dial connects to the port once the kernel says that our own user listens there.
func (a *Agent) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	if err := a.kernel.CheckListener(a.port, peer.Self(), false); err != nil {
		return nil, err
	}
	var dialer net.Dialer
	dialer.SetMultipathTCP(false)
	return dialer.DialContext(ctx, "tcp4", a.address())
}

func (a *Agent) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(int(a.port))) }

// Info asks what answers.
func (a *Agent) Info(ctx context.Context) (api.Info, error) {
	return do[api.Info](ctx, a.http, "GET", "http://"+a.address()+"/info", nil)
}

// Readers lists the session's readers.
func (a *Agent) Readers(ctx context.Context) ([]api.CardReader, error) {
	answer, err := do[struct {
		Success bool             `json:"success"`
		Data    []api.CardReader `json:"data"`
	}](ctx, a.http, "GET", "http://"+a.address()+"/v3/readers", nil)
	return answer.Data, err
}

// Offer offers a reader to a tenant and returns the ticket.
func (a *Agent) Offer(ctx context.Context, offer api.Offer) (api.Offered, error) {
	return do[api.Offered](ctx, a.http, "POST", "http://"+a.address()+"/cb/v1/offers", offer)
}

// Leases lists which back ends hold which readers of the session.
func (a *Agent) Leases(ctx context.Context) (api.Leases, error) {
	return do[api.Leases](ctx, a.http, "GET", "http://"+a.address()+"/cb/v1/leases", nil)
}

// Events calls each with the readers that are there and then every change, until ctx ends or each fails.
func (a *Agent) Events(ctx context.Context, each func(api.ReaderEvent) error) error {
	dialer := websocket.Dialer{NetDialContext: a.dial}
	target := url.URL{Scheme: "ws", Host: a.address(), Path: "/cb/v1/events"}
	ws, response, err := dialer.DialContext(ctx, target.String(), nil)
	if err != nil {
		if response != nil {
			return api.ReadError(response)
		}
		return unwrapURL(err)
	}
	defer ws.Close()
	stop := context.AfterFunc(ctx, func() { ws.Close() })
	defer stop()
	ws.SetReadLimit(maxAnswer)
	for {
		var event api.ReaderEvent
		if err := ws.ReadJSON(&event); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return cardbroker.Wrapf(err, cardbroker.Unavailable, "the agent is gone")
		}
		if err := each(event); err != nil {
			return err
		}
	}
}

// Revoke ends a back end's lease of a reader at once.
func (a *Agent) Revoke(ctx context.Context, tunnel string) error {
	_, err := do[struct{}](ctx, a.http, "POST", "http://"+a.address()+"/cb/v1/leases/"+url.PathEscape(tunnel)+"/revoke", nil)
	return err
}
