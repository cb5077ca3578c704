// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package run

import (
	"context"
	"time"
)

// Pause waits for d, and says whether ctx has not ended meanwhile.
func Pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Every calls f once in d, until ctx ends or f fails, and returns why f did.
func Every(ctx context.Context, d time.Duration, f func() error) error {
	ticker := time.NewTicker(d)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if err := f(); err != nil {
				return err
			}
		}
	}
}
