// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/peer"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

// Agent asks the caller's own agent on its loopback port. Make it with [NewAgent] or [NewHeldAgent].
type Agent struct {
	port   cardbroker.Port
	held   []cardbroker.UserID // whom the broker may run as that listens in the agent's place; nil: the agent itself does
	kernel *peer.Kernel
	http   *http.Client
}

// NewAgent returns a client of the agent on that port. It refuses to talk to a program of another user. Close it.
func NewAgent(port cardbroker.Port) *Agent { return newAgent(port, nil) }

// NewHeldAgent returns a client of an agent in whose place the broker listens, as root or one of accounts. It refuses to
// talk to a program of another user. Close it.
func NewHeldAgent(port cardbroker.Port, accounts ...cardbroker.UserID) *Agent {
	return newAgent(port, append([]cardbroker.UserID{{}}, accounts...))
}

func newAgent(port cardbroker.Port, held []cardbroker.UserID) *Agent {
	a := &Agent{port: port, held: held, kernel: peer.NewKernel()}
	a.http = &http.Client{Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return a.dial(ctx) },
		DisableKeepAlives: true,
	}}
	return a
}

// Close gives the client's resources back.
func (a *Agent) Close() { a.kernel.Close() }

// dial connects to the port once the kernel says that our own user listens there, or the broker. That speaks TLS, always;
// who it is says the kernel, so its certificate need not.
func (a *Agent) dial(ctx context.Context) (net.Conn, error) {
	if err := a.checkListener(); err != nil {
		return nil, err
	}
	var dialer net.Dialer
	dialer.SetMultipathTCP(false)
	conn, err := dialer.DialContext(ctx, "tcp4", a.address())
	if err != nil || a.held == nil {
		return conn, err
	}
	secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, cardbroker.Wrapf(err, cardbroker.Unavailable, "the broker speaks no TLS on port %d", a.port)
	}
	return secure, nil
}

func (a *Agent) checkListener() (err error) {
	if a.held == nil {
		return a.kernel.CheckListener(a.port, peer.Self(), false)
	}
	for _, account := range a.held {
		if err = a.kernel.CheckListener(a.port, account, false); err == nil {
			return nil
		}
	}
	return err
}

func (a *Agent) address() string { return loopbackAddress(a.port) }

// Info says what the agent is, and how its host finds it.
func (a *Agent) Info(ctx context.Context) (api.Info, error) {
	return askAgent[api.Info](ctx, a, "GET", "/info", nil)
}

// Readers lists the session's readers.
func (a *Agent) Readers(ctx context.Context) ([]api.CardReader, error) {
	type envelope struct {
		Data []api.CardReader `json:"data"`
	}
	answer, err := askAgent[envelope](ctx, a, "GET", "/v3/readers", nil)
	return answer.Data, err
}

// Offer offers a reader to a tenant and returns the ticket.
func (a *Agent) Offer(ctx context.Context, offer api.Offer) (api.Offered, error) {
	return askAgent[api.Offered](ctx, a, "POST", "/cb/v1/offers", offer)
}

// Leases lists which back ends hold which readers of the session.
func (a *Agent) Leases(ctx context.Context) (api.Leases, error) {
	return askAgent[api.Leases](ctx, a, "GET", "/cb/v1/leases", nil)
}

// Revoke ends a back end's lease of a reader at once.
func (a *Agent) Revoke(ctx context.Context, tunnel string) error {
	_, err := askAgent[struct{}](ctx, a, "POST", "/cb/v1/leases/"+url.PathEscape(tunnel)+"/revoke", nil)
	return err
}

// Cache says how many lists of certificates the agent keeps.
func (a *Agent) Cache(ctx context.Context) (api.Cache, error) {
	return askAgent[api.Cache](ctx, a, "GET", "/cb/v1/cache", nil)
}

// ClearCache has the agent forget the certificates of cards.
func (a *Agent) ClearCache(ctx context.Context) error {
	_, err := askAgent[struct{}](ctx, a, "POST", "/cb/v1/cache/clear", nil)
	return err
}

// Consents lists the user's consents, and the pages that wait for one.
func (a *Agent) Consents(ctx context.Context) (api.Consents, error) {
	return askAgent[api.Consents](ctx, a, "GET", "/cb/v1/consents", nil)
}

// DeviceKeys returns the keys that PINs are encrypted to. Errors: Unavailable while they are being made.
func (a *Agent) DeviceKeys(ctx context.Context) (api.DeviceKeys, error) {
	return askAgent[api.DeviceKeys](ctx, a, "GET", "/cb/v1/device-key", nil)
}

// Modules lists the PKCS#11 modules of the agent's machine policy. With start it has those started that do not run, and waits 4 s for that.
func (a *Agent) Modules(ctx context.Context, start bool) (api.Modules, error) {
	return askAgent[api.Modules](ctx, a, "GET", fmt.Sprintf("/cb/v1/modules?library=%t", start), nil)
}

// AnswerConsent gives the user's answer to a web page, also before it asks.
func (a *Agent) AnswerConsent(ctx context.Context, answer api.ConsentAnswer) error {
	_, err := askAgent[struct{}](ctx, a, "POST", "/cb/v1/consents", answer)
	return err
}

// RevokeConsent ends a consent at once, in all sessions of the user.
func (a *Agent) RevokeConsent(ctx context.Context, origin string) error {
	_, err := askAgent[struct{}](ctx, a, "POST", "/cb/v1/consents/revoke", api.ConsentRevoke{Origin: origin})
	return err
}

// Events calls each with the readers that are there and then every change, until ctx ends or each fails.
func (a *Agent) Events(ctx context.Context, each func(api.ReaderEvent) error) error {
	maker := socket.NewJSONMaker("")
	conn, response, err := maker.Dial(ctx, socket.Dial{URL: "ws://" + a.address() + "/cb/v1/events", Net: a.dial})
	if response != nil {
		return api.ReadError(response)
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	for {
		var event api.ReaderEvent
		if err := conn.NextJSON(&event); err != nil {
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

// askAgent makes one request of the agent; body nil: none.
func askAgent[T any](ctx context.Context, a *Agent, method, path string, body any) (T, error) {
	return do[T](ctx, a.http, method, "http://"+a.address()+path, body)
}
