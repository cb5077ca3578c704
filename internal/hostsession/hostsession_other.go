// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package hostsession

import "github.com/cardbroker/cardbroker"

// OfCgroup is always false: this system has no cgroups.
func OfCgroup(id uint64) (cardbroker.SessionID, bool) { return "", false }
