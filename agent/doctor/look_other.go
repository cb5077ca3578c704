// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package doctor

import "time"

func remote(string) string { return "" }

func systemClock(string) (hardware time.Time, synchronised bool) { return time.Time{}, true }

func kernel() (landlock int, seccomp bool) { return 0, false }
