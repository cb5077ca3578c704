// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package virtualreader is the Go client for back ends: it lists the readers that users offer to a tenant and drives a
// card in one of them through a tunnel.
//
// A [Client] speaks for one tenant to one or more brokers. [Client.List] and [Client.Watch] ask all of them at once; [Client.Open]
// asks one after the other, until one knows of the reader. In the life of a [Tunnel],
//
//   - Open burns the ticket and takes the lease of the reader;
//   - [Tunnel.Connect], [Tunnel.Transmit], [Tunnel.Begin] and their like are executed one at a time and once each;
//   - [Tunnel.Events] tells of cards that come and go;
//   - [Tunnel.Renew] makes the lease last longer, which otherwise ends by its deadline;
//   - [Tunnel.Close] gives the reader back.
//
// A connection that is cut, a broker that restarts and an agent that does are no errors: the tunnel takes its lease up again,
// through any of the brokers, and a command that was under way is answered as if nothing had happened, from the agent's
// record if the card has executed it. Calls only take longer; their contexts bound them. The reason [cardbroker.Indeterminate]
// is left for what nobody can know: whether the card has executed a command. It is never executed again by itself. What to do
// then is the back end's to say: ask the card how far it is, after a Connect, where the tunnel still lasts, or else through
// another one.
//
// Errors have a reason, [cardbroker.ReasonOf], and a message that is safe to show. Each call says which reasons it may have.
//
// The package owns a Tunnel's connection and the goroutines that read it and keep it alive. It never sees a PIN prompt, and by
// default no PIN passes.
package virtualreader

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// Config says who the back end is and where the brokers are.
type Config struct {
	Brokers []string          // wss://host:port, one or more; none with Rendezvous
	TLS     *tls.Config       // whom to trust, and the client's certificate; nil: the system's roots, none
	Token   cardbroker.Secret // of the tenant; empty: the certificate says it

	// Rendezvous is where brokers call that let nobody in, in place of Brokers; the caller closes it. Which tenant the back end
	// is, their hosts' configuration says, so TLS and credentials are not the client's.
	Rendezvous Rendezvous

	// APIKey gives the tenant's API key, in place of Token: the client exchanges it at each broker, and again when the token is
	// about to expire and another request is made. It may be called by several goroutines at a time.
	APIKey func(ctx context.Context) (cardbroker.Secret, error)

	// Renew gives the token for a request to a broker, in place of Token: where tokens live for minutes, or open one tunnel. It
	// is called again for each attempt to take a tunnel up again. It may be called by several goroutines at a time.
	Renew func(ctx context.Context, broker string) (cardbroker.Secret, error)
}

// Client talks to brokers for one tenant. It may be used by any number of goroutines and holds nothing between calls but
// idle connections.
type Client struct {
	brokers []string // without a slash at the end
	tls     *tls.Config
	renew   func(ctx context.Context, broker string) (cardbroker.Secret, error)
	tokens  *tokens // nil: there is no API key
	http    *http.Client
	tunnels *socket.Maker
	events  *socket.Maker
	called  Rendezvous // nil: the client calls the brokers
}

// requestTimeout is for one request and its answer.
const requestTimeout = 10 * time.Second

// maxList is the longest list of readers that is read, in bytes.
const maxList = 16 << 20

// New returns a client; it connects to nothing yet. Invalid: a broker's address is not wss://host:port.
func New(c Config) (*Client, error) {
	switch {
	case c.Rendezvous != nil && (len(c.Brokers) > 0 || c.TLS != nil || !c.Token.Empty() || c.APIKey != nil || c.Renew != nil):
		return nil, cardbroker.Errorf(cardbroker.Invalid, "with a rendezvous there are neither brokers nor credentials for them")
	case c.Rendezvous == nil && len(c.Brokers) == 0:
		return nil, cardbroker.Errorf(cardbroker.Invalid, "no broker is given")
	}
	client := &Client{
		tls:     &tls.Config{MinVersion: tls.VersionTLS13},
		renew:   c.Renew,
		tunnels: socket.NewMaker(wire.Subprotocol),
		events:  socket.NewJSONMaker(""),
		called:  c.Rendezvous,
	}
	if client.renew == nil {
		client.renew = func(context.Context, string) (cardbroker.Secret, error) { return c.Token, nil }
	}
	if c.TLS != nil {
		client.tls = c.TLS.Clone()
	}
	for _, broker := range c.Brokers {
		u, err := url.Parse(broker)
		if err != nil || u.Scheme != "wss" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.User != nil {
			return nil, cardbroker.Errorf(cardbroker.Invalid, "a broker's address is not of the form wss://host:port")
		}
		client.brokers = append(client.brokers, "wss://"+u.Host)
	}
	client.http = &http.Client{Timeout: requestTimeout, Transport: client.transport()}
	if c.APIKey != nil {
		client.tokens = newTokens(c, client)
		client.renew = client.tokens.get
	}
	return client, nil
}

// Reader is a reader that is offered to the tenant, and the broker that says so.
type Reader struct {
	api.RemoteReader
	Broker string
}

// List returns the readers that are offered to the tenant now, broker by broker; it asks all brokers at a time. Where
// brokers fail, it returns the readers of the others and an error: Unauthenticated, RateLimited, Unavailable or Timeout.
func (c *Client) List(ctx context.Context) ([]Reader, error) {
	brokers, err := c.beyond(ctx, nil)
	if err != nil {
		return nil, err
	}
	lists := make([][]api.RemoteReader, len(brokers))
	failed := make([]error, len(brokers))
	group := run.New(ctx)
	for i, broker := range brokers {
		group.Go("list "+broker, func(ctx context.Context) (err error) {
			if lists[i], err = c.list(ctx, broker); err != nil {
				failed[i] = fmt.Errorf("cannot list the readers of %s: %w", broker, err)
			}
			return nil // the others go on
		})
	}
	group.Wait()
	var readers []Reader
	for i, list := range lists {
		for _, r := range list {
			readers = append(readers, Reader{RemoteReader: r, Broker: brokers[i]})
		}
	}
	return readers, errors.Join(failed...)
}

func (c *Client) list(ctx context.Context, broker string) ([]api.RemoteReader, error) {
	list, err := c.listOnce(ctx, broker)
	if err != nil && c.tokens != nil && c.tokens.refused(broker, err) {
		return c.listOnce(ctx, broker)
	}
	return list, err
}

func (c *Client) listOnce(ctx context.Context, broker string) ([]api.RemoteReader, error) {
	address := "http" + strings.TrimPrefix(c.address(broker), "ws") + "/cb/v1/readers"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	if request.Header, err = c.header(ctx, broker, ""); err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, dialError(ctx, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, api.ReadError(response)
	}
	defer response.Body.Close()
	var list api.RemoteReaders
	if err := json.NewDecoder(io.LimitReader(response.Body, maxList)).Decode(&list); err != nil {
		return nil, cardbroker.Wrapf(err, cardbroker.Unavailable, "the answer is not a list of readers")
	}
	return list.Readers, nil
}

// target is what a WebSocket is opened to; the ticket may be empty.
type target struct{ broker, path, ticket string }

// dial opens a WebSocket. What the broker says when it refuses becomes the error that it was.
func (c *Client) dial(ctx context.Context, maker *socket.Maker, to target) (*socket.Conn, error) {
	conn, err := c.dialOnce(ctx, maker, to)
	if err != nil && c.tokens != nil && c.tokens.refused(to.broker, err) {
		return c.dialOnce(ctx, maker, to)
	}
	return conn, err
}

func (c *Client) dialOnce(ctx context.Context, maker *socket.Maker, to target) (*socket.Conn, error) {
	header, err := c.header(ctx, to.broker, to.ticket)
	if err != nil {
		return nil, err
	}
	conn, response, err := maker.Dial(ctx, socket.Dial{
		URL:    c.address(to.broker) + to.path,
		Header: header,
		TLS:    c.tls,
		Net:    c.connect(to.broker),
	})
	if response != nil {
		return nil, api.ReadError(response)
	}
	if err != nil {
		return nil, dialError(ctx, err)
	}
	return conn, nil
}

// header returns what a request to a broker bears.
func (c *Client) header(ctx context.Context, broker, ticket string) (http.Header, error) {
	token, err := c.renew(ctx, broker)
	if err != nil {
		return nil, fmt.Errorf("cannot get a token: %w", err)
	}
	h := http.Header{}
	if !token.Empty() {
		h.Set("Authorization", "Bearer "+string(token.Reveal()))
	}
	if ticket != "" {
		h.Set("Cardbroker-Ticket", ticket)
	}
	return h, nil
}

// dialError makes Unavailable of whatever says that a broker cannot be reached.
func dialError(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case cardbroker.ReasonOf(err) == cardbroker.Internal:
		return cardbroker.Wrapf(err, cardbroker.Unavailable, "the broker cannot be reached")
	}
	return err
}
