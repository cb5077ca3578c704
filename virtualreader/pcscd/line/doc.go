// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package line has the connections of PC/SC clients: how their messages are waited for. It knows nothing of what they say.
package line
