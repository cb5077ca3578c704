// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package tokens

import "time"

// LimitCalls changes how long calls may take from now on. Nothing may be under way.
func (t *Tokens) LimitCalls(limit time.Duration) { t.cfg.CallLimit = limit }

// Queued returns how many have the turn of a stream of the module, or wait for it.
func (t *Tokens) Queued(name string, stream int) (n int) {
	t.tell(func(st *state) {
		if p := st.module(name).process; p != nil {
			n = p.lines[stream].queued
		}
	})
	return n
}
