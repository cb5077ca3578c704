// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package hostsession

import (
	"strconv"

	"github.com/cardbroker/cardbroker"
)

// CgroupMount is for tests.
var CgroupMount = cgroupMount

// OfProcess is ofProcess by pid: tests start processes and look at them from outside.
func OfProcess(pid int) (cardbroker.SessionID, bool) { return ofProcess(strconv.Itoa(pid)) }
