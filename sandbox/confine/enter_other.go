// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package confine

import "github.com/cardbroker/cardbroker"

// Enter says that this system has no sandbox yet.
func Enter(Needs) (State, error) {
	return State{}, cardbroker.Errorf(cardbroker.Unsupported, "the sandbox does not run on this system")
}
