// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package registry is the broker's table of agents and their ports. It has one writer, a loop, and a view that anybody
// reads without waiting. Every change lasts in its [Ledger] before it is seen or acknowledged. Beside it the [Guard] binds
// the ports of agents that are away. It knows no request and no caller: who asks was decided before.
package registry
