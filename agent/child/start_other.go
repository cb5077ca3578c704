// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package child

import "github.com/cardbroker/cardbroker"

// start says that this system has no sandbox yet.
func start(Config) (*Process, error) {
	return nil, cardbroker.Errorf(cardbroker.Unsupported, "the sandbox does not run on this system")
}
