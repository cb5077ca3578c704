// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package leases

import (
	"context"
	"time"

	"github.com/cardbroker/cardbroker/internal/run"
)

// Crowd are ways for messages there and back, each over a connection of its own.
type Crowd []func() error

const (
	crowdWarm  = 5  // trips over each that do not count
	crowdTrips = 50 // that do
)

// PerMessage makes some trips over all at once, and returns how long it took divided by how many there were: the inverse of
// messages a second.
func (c Crowd) PerMessage(ctx context.Context) (time.Duration, error) {
	if err := c.each(ctx, crowdWarm); err != nil {
		return 0, err
	}
	start := time.Now()
	err := c.each(ctx, crowdTrips)
	return time.Since(start) / time.Duration(crowdTrips*len(c)), err
}

func (c Crowd) each(ctx context.Context, trips int) error {
	group := run.New(ctx)
	for _, trip := range c {
		group.Go("trips", func(ctx context.Context) error {
			for range trips {
				if err := trip(); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
	return group.Wait()
}
