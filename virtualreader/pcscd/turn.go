// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcscd

import "context"

// turn makes something belong to one goroutine at a time, in the order in which they came. Capacity 1: one inside while
// somebody has the turn.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

// try takes the turn, unless somebody has it.
func (t turn) try() bool {
	select {
	case t <- struct{}{}:
		return true
	default:
		return false
	}
}

// await waits for the turn, until ctx ends.
func (t turn) await(ctx context.Context) bool {
	select {
	case t <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (t turn) leave() { <-t }
