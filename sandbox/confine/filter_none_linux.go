// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !amd64 && !arm64

package confine

import "github.com/cardbroker/cardbroker"

// filterCalls says that there is no table of system calls for this architecture.
func filterCalls() error {
	return cardbroker.Errorf(cardbroker.Unsupported, "the sandbox does not run on this architecture")
}
