// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package sandbox

import "github.com/cardbroker/cardbroker"

// Harden says that this system has no sandbox yet.
func Harden() error {
	return cardbroker.Errorf(cardbroker.Unsupported, "the sandbox does not run on this system")
}
