// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package wan

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/test/bench/agents"
	"github.com/cardbroker/cardbroker/virtualreader"
)

// ResumeTrips is how often something goes there and back until a lease is taken up again: TCP's handshake, that of TLS 1.3, the
// WebSocket's, and Resume with its frame, whose answer is what the back end waits for.
const ResumeTrips = 4

// Resumes cuts the connection of a back end so far away count times, each time while its card has a command, and returns how long
// the answer took from then on, and a round trip. The card answers as soon as the connection is cut. held is told what the
// site's cards are to do with [agents.HeldCommand].
func (s Site) Resumes(ctx context.Context, rtt time.Duration, count int, held func(func(context.Context))) (took []time.Duration, trip time.Duration, err error) {
	group := run.New(ctx)
	defer group.Stop()
	pinged, err := Ping(group, rtt, pings)
	if err != nil {
		return nil, 0, err
	}
	l, err := NewLink(group, s.Door, rtt)
	if err != nil {
		return nil, 0, err
	}
	t, err := s.open(group.Context(), l, virtualreader.Options{})
	if err != nil {
		return nil, 0, err
	}
	defer t.Close()
	cuts := make(chan time.Time, 1)
	held(func(context.Context) {
		cuts <- time.Now()
		l.Cut()
	})
	for n := range count {
		if _, err := t.Transmit(group.Context(), agents.HeldCommand()); err != nil {
			return nil, 0, err
		}
		took = append(took, time.Since(<-cuts))
		if t.Resumed() != uint64(n+1) {
			return nil, 0, fmt.Errorf("the lease was taken up again %d times after %d cuts", t.Resumed(), n+1)
		}
	}
	return took, slices.Min(pinged), nil
}
