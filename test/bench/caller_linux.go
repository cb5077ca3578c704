// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"net"
	"strconv"
	"time"

	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/test/bench/conns"
	"github.com/cardbroker/cardbroker/test/bench/sample"
	"github.com/cardbroker/cardbroker/test/bench/storm"
)

const (
	openConns  = 10_000
	otherFiles = 256 // descriptors that are needed for other things

	connectTimeout = 20 * time.Second // for all connections
)

// registry measures a thousand agents that come at once, and look-ups while the disk does not answer.
func (b *bench) registry(ctx context.Context) ([]measured, error) {
	storms, looks, err := storm.Measure(ctx, b.stage.Path(), pick(b, 20, 5), pick(b, 3*time.Second, time.Second))
	return []measured{{ours: sample.Each(storms, sample.Millis)}, {ours: sample.Each(looks, sample.Micros)}}, err
}

// caller measures how long it takes to learn from the kernel who is behind one connection of many. Their other ends are
// in another process.
func (b *bench) caller(ctx context.Context) ([]measured, error) {
	if why := conns.NeedFiles(openConns + otherFiles); why != "" {
		return []measured{{skip: why}}, nil
	}
	listener, err := httpserver.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	listener.(*net.TCPListener).SetDeadline(time.Now().Add(connectTimeout))
	holder, err := b.help(nil, nil, "hold", listener.Addr().String(), strconv.Itoa(openConns))
	if err != nil {
		return nil, err
	}
	defer holder.End()
	took, err := conns.Callers(listener, openConns, pick(b, 50_000, 10_000))
	return []measured{{ours: took}}, errors.Join(err, ctx.Err())
}
