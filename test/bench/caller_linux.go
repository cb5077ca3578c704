// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/peer"
	"github.com/cardbroker/cardbroker/test/bench/bare"
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
	if why := needFiles(openConns + otherFiles); why != "" {
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
	defer holder.end()
	conns := make([]*net.TCPConn, openConns)
	for i := range conns {
		conn, err := listener.Accept()
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		conns[i] = conn.(*net.TCPConn)
	}
	kernel := peer.NewKernel()
	defer kernel.Close()
	took := make([]float64, pick(b, 50_000, 10_000))
	for i := range took {
		conn := conns[rand.IntN(len(conns))]
		start := time.Now()
		found, err := kernel.Attest(conn)
		took[i] = sample.Micros(time.Since(start))
		if err != nil || found.User != peer.Self() {
			return nil, fmt.Errorf("the caller is %v, %w, want %v", found.User, err, peer.Self())
		}
	}
	return []measured{{ours: took}}, ctx.Err()
}

// needFiles says why this process cannot have n descriptors, if it cannot.
func needFiles(n uint64) string {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err.Error()
	}
	if limit.Cur >= n { // Go has raised it to the hard limit
		return ""
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: max(n, limit.Max)}); err != nil {
		return fmt.Sprintf("needs %d descriptors, RLIMIT_NOFILE is %d", n, limit.Max)
	}
	return ""
}

// hold is the helper that opens connections and keeps them.
func hold(ctx context.Context, address, count string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	if err := say(nil); err != nil { // whoever accepts may begin
		return err
	}
	for range n {
		conn, err := bare.Dial(ctx, address)
		if err != nil {
			return err
		}
		defer conn.Close()
	}
	return untilEnd()
}
