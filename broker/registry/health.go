// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
)

// stalledAfter is how long a commit may run before writes are refused instead of queued: a hundred times what a slow disk
// takes, and well below a request's deadline of 10 s.
const stalledAfter = 2 * time.Second

// health tells, without waiting, how the ledger does.
type health struct {
	since  atomic.Pointer[time.Time] // of the commit that runs
	failed atomic.Pointer[error]     // the last commit's failure
}

func (h *health) begin() {
	now := time.Now()
	h.since.Store(&now)
}

func (h *health) end(err error) {
	if err == nil {
		h.failed.Store(nil)
	} else {
		h.failed.Store(&err)
	}
	h.since.Store(nil)
}

// stalled returns Unavailable while a commit takes far too long.
func (h *health) stalled() error {
	since := h.since.Load()
	if since == nil || time.Since(*since) < stalledAfter {
		return nil
	}
	return cardbroker.Errorf(cardbroker.Unavailable, "the store has not answered for %s", time.Since(*since).Round(time.Second))
}

// degraded is stalled, or returns the failure of the last commit.
func (h *health) degraded() error {
	if err := h.stalled(); err != nil {
		return err
	}
	if err := h.failed.Load(); err != nil {
		return *err
	}
	return nil
}
