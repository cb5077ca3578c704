// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package conns

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cardbroker/cardbroker/internal/peer"
	"github.com/cardbroker/cardbroker/test/bench/bare"
	"github.com/cardbroker/cardbroker/test/bench/sample"
)

// NeedFiles says why this process cannot have n descriptors, if it cannot.
func NeedFiles(n uint64) string {
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

// Hold says that whoever accepts may begin, opens so many connections to an address, and keeps them until end returns.
func Hold(ctx context.Context, address, count string, say, end func() error) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	if err := say(); err != nil {
		return err
	}
	for range n {
		conn, err := bare.Dial(ctx, address)
		if err != nil {
			return err
		}
		defer conn.Close()
	}
	return end()
}

// Callers accepts so many connections and returns how long it took, in µs, to learn who is behind one of them, times over.
func Callers(listener net.Listener, count, times int) ([]float64, error) {
	conns := make([]*net.TCPConn, count)
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
	took := make([]float64, times)
	for i := range took {
		conn := conns[rand.IntN(len(conns))]
		start := time.Now()
		found, err := kernel.Attest(conn)
		took[i] = sample.Micros(time.Since(start))
		if err != nil || found.User != peer.Self() {
			return nil, fmt.Errorf("the caller is %v, %w, want %v", found.User, err, peer.Self())
		}
	}
	return took, nil
}
