// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package wan

import (
	"context"
	"fmt"
	"time"

	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/test/bench/agents"
	"github.com/cardbroker/cardbroker/virtualreader"
)

// resumeTrips is how often something goes there and back until a lease is taken up again: TCP's handshake, that of TLS 1.3, the
// WebSocket's, and Resume with its frame, whose answer is what the back end waits for.
const resumeTrips = 4

// Resumed is what it took to take a lease up again, cut by cut.
type Resumed struct {
	Took  []time.Duration // from the cut to the answer
	Least []time.Duration // the round trips, measured in turns with it
	How   string          // where the delay came from
}

// Resumes cuts the connection of a back end so far away count times, each time while its card has a command. The card answers as
// soon as the connection is cut. held is told what the site's cards are to do with [agents.HeldCommand].
func (s Site) Resumes(ctx context.Context, rtt time.Duration, count int, held func(func(context.Context))) (r Resumed, err error) {
	group := run.New(ctx)
	defer group.Stop()
	p, err := NewPinger(group, rtt)
	if err != nil {
		return r, err
	}
	l, err := NewLink(group, s.Door, rtt)
	if err != nil {
		return r, err
	}
	t, err := s.open(group.Context(), l, virtualreader.Options{})
	if err != nil {
		return r, err
	}
	defer t.Close()
	cuts := make(chan time.Time, 1)
	held(func(context.Context) {
		cuts <- time.Now()
		l.Cut()
	})
	for n := range count {
		least, err := p.Trips(resumeTrips)
		if err != nil {
			return r, err
		}
		if _, err := t.Transmit(group.Context(), agents.HeldCommand()); err != nil {
			return r, err
		}
		r.Took, r.Least = append(r.Took, time.Since(<-cuts)), append(r.Least, least)
		if t.Resumed() != uint64(n+1) {
			return r, fmt.Errorf("the lease was taken up again %d times after %d cuts", t.Resumed(), n+1)
		}
	}
	r.How = l.How()
	return r, nil
}
