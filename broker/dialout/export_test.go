// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package dialout

// NextWait is how long to wait before the next call.
var NextWait = nextWait
