// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package nodump keeps what passes through a process, PINs and tokens above all, out of core dumps and from the eyes of
// other programs of the same user.
package nodump
