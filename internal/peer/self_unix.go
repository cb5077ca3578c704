// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package peer

import (
	"os"

	"github.com/cardbroker/cardbroker"
)

// Self returns the user that the kernel tells others when this process connects: the effective one.
func Self() cardbroker.UserID { return cardbroker.UserID{UID: uint32(os.Geteuid())} }
