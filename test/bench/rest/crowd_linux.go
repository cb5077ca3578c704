// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package rest

import (
	"context"
	"errors"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/run"
)

// echo is a command that the software card answers with its data.
const echo = "80EE0000020102"

// Crowd is clients that ask the agents on some ports at the same time, as many each: they list the readers and have the card answer, time and again, over a
// connection of their own. It returns how many of their calls failed, and what the first of them said.
func Crowd(ctx context.Context, ports []cardbroker.Port, reader string, clients, rounds int) (failed int, first error) {
	errs := make(chan error, clients*rounds)
	group := run.New(ctx)
	for n := range clients {
		group.Go("client", func(ctx context.Context) error {
			c := NewClient(ports[n%len(ports)])
			defer c.Close()
			for range rounds {
				errs <- c.use(ctx, reader)
			}
			return nil
		})
	}
	group.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			failed++
			if first == nil {
				first = err
			}
		}
	}
	return failed, first
}

// use lists the readers and sends one command.
func (c *Client) use(ctx context.Context, reader string) error {
	path, err := c.Reader(ctx, reader)
	if err != nil {
		return err
	}
	var answer api.RemoteAnswer
	if err := c.Ask(ctx, path+"command", api.RemoteCommand{Command: echo}, &answer); err != nil {
		return err
	}
	if answer.SW != "9000" || answer.RX != "0102" {
		return errors.New("the card has answered " + answer.SW)
	}
	return nil
}

// Infos asks for /info every so often until over ends, each time over a new connection as a page does, and returns how long that took.
func Infos(ctx context.Context, address string, every time.Duration, over <-chan struct{}) ([]time.Duration, error) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var took []time.Duration
	for {
		c := &Client{address: address}
		start := time.Now()
		err := c.Ask(ctx, "/info", nil, nil)
		took = append(took, time.Since(start))
		c.Close()
		if err != nil {
			return nil, err
		}
		select {
		case <-over:
			return took, nil
		case <-tick.C:
		}
	}
}
