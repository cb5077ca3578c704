// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package conns measures what it takes to learn from the kernel who is behind one connection of many.
package conns
