// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package client asks broker and agent, over the interfaces that they have for everybody: the broker's local socket and
// the agent's loopback port. The command line, the agent itself and the end-to-end tests use it. It always checks who
// answers, by the kernel, before it says anything.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/peer"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

const (
	dialTimeout = 5 * time.Second
	maxAnswer   = 8 << 20 // bytes: 10,000 sessions in JSON
)

// BrokerConfig says where the broker is and whom it may run as.
type BrokerConfig struct {
	Socket   string              // path of the local socket
	Accounts []cardbroker.UserID // that the broker may run as, besides root
}

// Broker asks the broker over its local socket. Make it with [NewBroker].
type Broker struct {
	cfg     BrokerConfig
	http    *http.Client
	links   *socket.Maker
	tunnels *socket.Maker
}

// NewBroker returns a client that has not connected yet. It keeps no connection between requests.
func NewBroker(cfg BrokerConfig) *Broker {
	b := &Broker{cfg: cfg, links: socket.NewMaker(api.LinkProtocol), tunnels: socket.NewMaker(wire.Subprotocol)}
	b.http = &http.Client{Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return b.dial(ctx) },
		DisableKeepAlives: true, // an idle connection would cost the agent a timer
	}}
	return b
}

// dial connects to the local socket and checks who listens there: nobody else may have put the socket in its place.
func (b *Broker) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", b.cfg.Socket)
	if err != nil {
		if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED) {
			return nil, cardbroker.Wrapf(err, cardbroker.Unavailable, "no broker answers at %s: have it started (cardbroker host run), or name its socket with --socket", b.cfg.Socket)
		}
		return nil, cardbroker.Wrapf(err, cardbroker.Unavailable, "cannot reach the broker at %s", b.cfg.Socket)
	}
	err = peer.CheckPath(b.cfg.Socket, b.cfg.Accounts...)
	if err == nil {
		_, err = peer.CheckServer(conn.(*net.UnixConn), b.cfg.Accounts...)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("cannot trust the broker at %s: %w", b.cfg.Socket, err)
	}
	return conn, nil
}

// Accounts returns whom the broker may run as, besides root.
func (b *Broker) Accounts() []cardbroker.UserID { return b.cfg.Accounts }

// Reserve asks for a port for the session. Errors: as the broker's registry.
func (b *Broker) Reserve(ctx context.Context, claim api.Claim) (api.Reservation, error) {
	return askBroker[api.Reservation](ctx, b, "POST", "/local/v1/reserve", claim)
}

// Renew moves the deadline of a reservation.
func (b *Broker) Renew(ctx context.Context, claim api.Claim) (api.Reservation, error) {
	return askBroker[api.Reservation](ctx, b, "POST", "/local/v1/renew", claim)
}

// Release gives the session's port back.
func (b *Broker) Release(ctx context.Context, claim api.Claim) error {
	_, err := askBroker[struct{}](ctx, b, "POST", "/local/v1/release", claim)
	return err
}

// Agents lists the caller's own agents.
func (b *Broker) Agents(ctx context.Context) (api.Sessions, error) {
	return askBroker[api.Sessions](ctx, b, "GET", "/local/v1/agents", nil)
}

// Sessions lists all agents. Administrators only.
func (b *Broker) Sessions(ctx context.Context) (api.Sessions, error) {
	return askBroker[api.Sessions](ctx, b, "GET", "/local/v1/sessions", nil)
}

// Kick ends the agent of a session. Administrators only. Errors: NoAgent, SessionAmbiguous.
func (b *Broker) Kick(ctx context.Context, kick api.Kick) error {
	_, err := askBroker[struct{}](ctx, b, "POST", "/local/v1/kick", kick)
	return err
}

// Leases lists which back ends hold which readers. Administrators only.
func (b *Broker) Leases(ctx context.Context) (api.Leases, error) {
	return askBroker[api.Leases](ctx, b, "GET", "/local/v1/leases", nil)
}

// RevokeLease ends a back end's lease of a reader at once. Administrators only. Errors: ObjectUnknown.
func (b *Broker) RevokeLease(ctx context.Context, tunnel string) (api.LeaseRevoked, error) {
	return askBroker[api.LeaseRevoked](ctx, b, "POST", "/local/v1/leases/"+url.PathEscape(tunnel)+"/revoke", nil)
}

// Explain says who is behind a connection to server, or to the broker where that is empty. Administrators only.
func (b *Broker) Explain(ctx context.Context, client, server string) (api.Explanation, error) {
	query := url.Values{"client": {client}, "server": {server}}
	return askBroker[api.Explanation](ctx, b, "GET", "/local/v1/explain?"+query.Encode(), nil)
}

// Doctor says what is wrong with the broker. Administrators only.
func (b *Broker) Doctor(ctx context.Context) (api.Diagnosis, error) {
	return askBroker[api.Diagnosis](ctx, b, "GET", "/local/v1/doctor", nil)
}

// Audit says how the audit log is. Administrators only.
func (b *Broker) Audit(ctx context.Context) (api.AuditStatus, error) {
	return askBroker[api.AuditStatus](ctx, b, "GET", "/local/v1/audit", nil)
}

// APIKeys lists what back ends exchange for tokens, and what those are signed by. Administrators only.
func (b *Broker) APIKeys(ctx context.Context) (api.APIKeys, error) {
	return askBroker[api.APIKeys](ctx, b, "GET", "/local/v1/tokens", nil)
}

// Enrol makes an API key for a tenant. Administrators only.
func (b *Broker) Enrol(ctx context.Context, tenant string) (api.NewAPIKey, error) {
	return askBroker[api.NewAPIKey](ctx, b, "POST", "/local/v1/tokens/enrol", api.Enrol{Tenant: tenant})
}

// RevokeKeys ends an API key, by its id, or all of a tenant. Administrators only.
func (b *Broker) RevokeKeys(ctx context.Context, name string) (api.Revoked, error) {
	return askBroker[api.Revoked](ctx, b, "POST", "/local/v1/tokens/revoke", api.KeyName{Name: name})
}

// RotateKey has the next key sign tokens; with discard, no token that was issued before is good any more. Administrators only.
func (b *Broker) RotateKey(ctx context.Context, discard bool) (api.SigningKey, error) {
	return askBroker[api.SigningKey](ctx, b, "POST", "/local/v1/tokens/rotate", api.Rotate{Discard: discard})
}

// IssueToken returns a token, as for an API key of the tenant. Administrators only.
func (b *Broker) IssueToken(ctx context.Context, name string) (api.Token, error) {
	return askBroker[api.Token](ctx, b, "POST", "/local/v1/tokens/issue", api.KeyName{Name: name})
}

// Link opens an agent's link. Who opens it sends [api.Register] first.
func (b *Broker) Link(ctx context.Context) (*socket.Conn, error) {
	return b.dialSocket(ctx, b.links, "/local/v1/link")
}

// TunnelLeg brings the agent's leg of the tunnel that the broker asked for. Errors: Unavailable, which a back end takes for a reason to try
// again: the user may have too many connections for a moment.
func (b *Broker) TunnelLeg(ctx context.Context, id string) (*socket.Conn, error) {
	conn, err := b.dialSocket(ctx, b.tunnels, "/local/v1/tunnels/"+url.PathEscape(id))
	if err != nil {
		return nil, cardbroker.Wrapf(err, cardbroker.Unavailable, "the agent cannot bring its end of the tunnel; try again")
	}
	return conn, nil
}

func (b *Broker) dialSocket(ctx context.Context, maker *socket.Maker, path string) (*socket.Conn, error) {
	conn, response, err := maker.Dial(ctx, socket.Dial{URL: "ws://cardbroker" + path, Net: b.dial})
	if err != nil && response != nil {
		return nil, api.ReadError(response)
	}
	return conn, err
}

// askBroker makes one request of the local socket; body nil: none.
func askBroker[T any](ctx context.Context, b *Broker, method, path string, body any) (T, error) {
	return do[T](ctx, b.http, method, "http://cardbroker"+path, body)
}

// do makes one request and reads its answer: JSON, or an error that is a cardbroker.Error again.
func do[T any](ctx context.Context, h *http.Client, method, url string, body any) (T, error) {
	var answer T
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return answer, err
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, url, content)
	if err != nil {
		return answer, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := h.Do(request)
	if err != nil {
		return answer, unwrapURL(err)
	}
	if response.StatusCode != http.StatusOK {
		return answer, api.ReadError(response)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(&answer); err != nil {
		return answer, cardbroker.Wrapf(err, cardbroker.Unavailable, "the answer was cut short")
	}
	return answer, nil
}

// unwrapURL takes net/http's wrapping off, so that our own errors come through; what is not ours is Unavailable.
func unwrapURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if _, ours := errors.AsType[*cardbroker.Error](err); ours || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return cardbroker.Wrapf(cut{err}, cardbroker.Unavailable, "the connection was cut")
}

// cut is why there was no answer, not even the beginning of one.
type cut struct{ error }

func (c cut) Unwrap() error { return c.error }
