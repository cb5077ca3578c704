// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package cache

// HostID returns nothing: on this system certificates are kept in memory only.
func HostID() string { return "" }
