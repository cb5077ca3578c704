// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package virtualreader

import (
	"context"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

// Rendezvous is where brokers call that let no back end in; package rendezvous listens for them. A broker is named by its
// host.
type Rendezvous interface {
	// Beyond returns the brokers that have called and are not among known. It waits for one until ctx ends.
	Beyond(ctx context.Context, known []string) ([]string, error)
	// Settled is when all brokers that want to should have called.
	Settled() time.Time
	// Dial returns a new connection to a broker that has called.
	Dial(ctx context.Context, broker string) (net.Conn, error)
}

// beyond returns the brokers that are not among known. Of those that call it waits for one: for the first until ctx ends,
// for others no longer than they should take.
func (c *Client) beyond(ctx context.Context, known []string) ([]string, error) {
	if c.called == nil {
		return slices.DeleteFunc(slices.Clone(c.brokers), func(b string) bool { return slices.Contains(known, b) }), nil
	}
	if len(known) > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, c.called.Settled())
		defer cancel()
	}
	brokers, err := c.called.Beyond(ctx, known)
	if err != nil && ctx.Err() != nil {
		return nil, cardbroker.Wrapf(err, cardbroker.ReasonOf(ctx.Err()), "no broker has called meanwhile")
	}
	return brokers, err
}

// anywhere opens a WebSocket at the named broker, else at the first that knows what it is for, and says at which.
func (c *Client) anywhere(ctx context.Context, broker string, to target) (*socket.Conn, string, error) {
	if broker != "" && c.called == nil && !slices.Contains(c.brokers, broker) {
		return nil, "", cardbroker.Errorf(cardbroker.Invalid, "the broker is not one of the client's")
	}
	var tried []string
	var failed error
	for {
		brokers, err := c.beyond(ctx, tried)
		if len(brokers) == 0 {
			if failed == nil {
				failed = err
			}
			return nil, "", failed
		}
		for _, to.broker = range brokers {
			tried = append(tried, to.broker)
			if broker != "" && broker != to.broker {
				continue
			}
			conn, err := c.dial(ctx, c.tunnels, to)
			if err == nil || !elsewhere(err) || broker != "" {
				return conn, to.broker, err
			}
			failed = err
		}
	}
}

// lookAgain is how long a broker is left alone whose watch has failed.
const lookAgain = time.Second

// watchCalled follows each broker for as long as it calls.
func (c *Client) watchCalled(ctx context.Context, events chan<- Event) error {
	group := run.New(ctx)
	defer group.Stop()
	type found struct {
		brokers []string
		err     error
	}
	var watched []string
	ended := make(chan string)
	for {
		look, stop := context.WithCancel(ctx)
		come, known := make(chan found, 1), slices.Clone(watched)
		group.Go("look", func(context.Context) error {
			brokers, err := c.called.Beyond(look, known)
			come <- found{brokers, err}
			return nil
		})
		select {
		case f := <-come:
			stop()
			if f.err != nil {
				return f.err
			}
			for _, broker := range f.brokers {
				watched = append(watched, broker)
				group.Go("watch "+broker, func(ctx context.Context) error { return c.watchOne(ctx, broker, events, ended) })
			}
		case broker := <-ended:
			stop()
			watched = slices.DeleteFunc(watched, func(b string) bool { return b == broker })
		}
	}
}

// watchOne follows one broker until it hangs up, and tells that its readers are gone with it.
func (c *Client) watchOne(ctx context.Context, broker string, events chan<- Event, ended chan<- string) error {
	w := &watch{client: c, broker: broker, events: events, known: make(map[cardbroker.ReaderID]api.ReaderState)}
	w.run(ctx) // why it failed, the next watch says
	if err := w.gone(ctx, nil); err != nil {
		return err
	}
	if !run.Pause(ctx, lookAgain) {
		return nil
	}
	select {
	case ended <- broker:
	case <-ctx.Done():
	}
	return nil
}

// address is how URLs name a broker, without a slash at the end.
func (c *Client) address(broker string) string {
	if c.called == nil {
		return broker
	}
	return "ws://" + broker // over a connection that is secure already
}

// connect makes the connections to a broker that has called; nil: it is one to be called.
func (c *Client) connect(broker string) func(ctx context.Context) (net.Conn, error) {
	if c.called == nil {
		return nil
	}
	return func(ctx context.Context) (net.Conn, error) { return c.called.Dial(ctx, broker) }
}

// transport carries requests.
func (c *Client) transport() *http.Transport {
	if c.called != nil {
		return &http.Transport{
			DisableKeepAlives: true, // a connection that nobody uses would be one of few
			DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
				host, _, err := net.SplitHostPort(address)
				if err != nil {
					return nil, err
				}
				return c.called.Dial(ctx, host)
			},
		}
	}
	dialer := &net.Dialer{}
	dialer.SetMultipathTCP(false)
	return &http.Transport{
		TLSClientConfig:     c.tls,
		DialContext:         dialer.DialContext,
		MaxIdleConnsPerHost: 1,
		IdleConnTimeout:     30 * time.Second,
	}
}
