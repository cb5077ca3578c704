// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package dialout

import (
	"context"
	"encoding/hex"
	"errors"
	"net"
	"net/http"
	"time"

	"golang.org/x/time/rate"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

const (
	callTimeout = 15 * time.Second // until the rendezvous has said Welcome
	pingEvery   = 20 * time.Second
	maxSilence  = 70 * time.Second

	// How often a rendezvous may ask for something. One that asks more is cut off, and called again when the wait is over.
	asksPerSecond = 50
	asksBurst     = 2 * MaxConns
)

// call calls once and does what the rendezvous asks for until the call ends. It returns how long it was welcome.
func (c *Caller) call(ctx context.Context) (lasted time.Duration, err error) {
	conn, err := c.greet(ctx)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	c.status.Store(&status{since: began, up: true})
	c.cfg.Log.Info("connected to the rendezvous", "backend", c.cfg.URL)
	group := run.New(ctx)
	cut := context.AfterFunc(group.Context(), func() {
		conn.Shutdown(context.Cause(group.Context()))
		conn.Close()
	})
	defer cut()
	group.Go("listen", func(ctx context.Context) error { return c.listen(ctx, conn, group) })
	group.Go("ping", func(ctx context.Context) error {
		return run.Every(ctx, pingEvery, func() error { return conn.WriteJSON(api.FromHost{Ping: &api.RendezvousPing{}}) })
	})
	err = group.Wait()
	conn.Close()
	if err == nil {
		err = ctx.Err()
	}
	return time.Since(began), err
}

// greet connects, says which host calls, and waits until that is welcome.
func (c *Caller) greet(ctx context.Context) (*socket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	header, err := c.header()
	if err != nil {
		return nil, err
	}
	conn, response, err := c.calls.Dial(ctx, socket.Dial{
		URL:    c.cfg.URL + "/cb/v1/rendezvous",
		Header: header,
		TLS:    c.cfg.TLS,
		Net:    c.connect,
	})
	if response != nil {
		return nil, api.ReadError(response)
	}
	if err != nil {
		return nil, ended(err)
	}
	late := context.AfterFunc(ctx, func() { conn.Close() })
	conn.LimitSilence(maxSilence)
	err = conn.WriteJSON(api.FromHost{Hello: &api.HostHello{Host: c.cfg.Host, Version: c.cfg.Version}})
	var answer api.FromRendezvous
	if err == nil {
		err = conn.NextJSON(&answer)
	}
	switch {
	case !late():
		err = ctx.Err()
	case err == nil && answer.Welcome == nil:
		err = cardbroker.Errorf(cardbroker.Invalid, "the rendezvous answered hello with something else")
	}
	if err != nil {
		conn.Shutdown(err)
		conn.Close()
		return nil, ended(err)
	}
	return conn, nil
}

// header returns what shows the rendezvous which host calls, where no certificate does.
func (c *Caller) header() (http.Header, error) {
	h := http.Header{}
	if c.cfg.Token == nil {
		return h, nil
	}
	token, err := c.cfg.Token()
	if err != nil {
		return nil, err
	}
	h.Set("Authorization", "Bearer "+string(token.Reveal()))
	return h, nil
}

// ended gives a regular end a reason, and says what did not come in time.
func ended(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return cardbroker.Wrapf(err, cardbroker.Unavailable, "the rendezvous does not answer")
	}
	if cardbroker.ReasonOf(err) == cardbroker.Internal {
		return cardbroker.Wrapf(err, cardbroker.Unavailable, "the rendezvous has ended the connection")
	}
	return err
}

// listen does what the rendezvous asks for until the call ends.
func (c *Caller) listen(ctx context.Context, conn *socket.Conn, group *run.Group) error {
	asks := rate.NewLimiter(asksPerSecond, asksBurst)
	for {
		var message api.FromRendezvous
		if err := conn.NextJSON(&message); err != nil {
			return ended(err)
		}
		switch {
		case !asks.Allow():
			return cardbroker.Errorf(cardbroker.RateLimited, "the rendezvous asks more than %d times a second", asksPerSecond)
		case message.Connect != nil:
			if err := c.asked(conn, group, message.Connect.ID); err != nil {
				return err
			}
		case message.Ping != nil:
		default:
			return cardbroker.Errorf(cardbroker.Invalid, "an empty or unexpected message of the rendezvous")
		}
	}
}

// asked starts to bring a connection, if there is room for one more.
func (c *Caller) asked(conn *socket.Conn, group *run.Group, id string) error {
	if raw, err := hex.DecodeString(id); err != nil || len(raw) != 16 {
		return cardbroker.Errorf(cardbroker.Invalid, "the rendezvous asks for a connection by an id that is none")
	}
	select {
	case c.slots <- struct{}{}:
	default:
		full := cardbroker.Errorf(cardbroker.Overloaded, "this rendezvous has %d connections to the host already", MaxConns)
		return conn.WriteJSON(api.FromHost{Failed: &api.ConnectFailed{ID: id, Error: api.Describe(full)}})
	}
	group.Go("connect", func(ctx context.Context) error {
		leg, err := c.reverse(ctx, id)
		if err != nil {
			<-c.slots
			c.cfg.Log.Debug("cannot bring a connection", "backend", c.cfg.URL, "err", err)
			return conn.WriteJSON(api.FromHost{Failed: &api.ConnectFailed{ID: id, Error: api.Describe(err)}})
		}
		c.deliver(ctx, leg)
		return nil
	})
	return nil
}

// deliver hands a connection to who accepts here.
func (c *Caller) deliver(ctx context.Context, conn net.Conn) {
	select {
	case c.conns <- conn:
		c.used.Store(true)
	case <-c.closed:
		conn.Close()
	case <-ctx.Done():
		conn.Close()
	}
}
