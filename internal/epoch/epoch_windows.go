// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package epoch

import (
	"time"

	"golang.org/x/sys/windows"
)

func sinceBoot() time.Duration { return windows.DurationSinceBoot() }
