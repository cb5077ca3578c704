// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux && !windows

package epoch

import "time"

// sinceBoot counts from an epoch of its own where the system has no such clock: numbers still only rise.
func sinceBoot() time.Duration { return time.Duration(time.Now().UnixNano()) }
