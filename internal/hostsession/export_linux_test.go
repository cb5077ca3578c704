// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package hostsession

// CgroupMount is for tests.
var CgroupMount = cgroupMount
