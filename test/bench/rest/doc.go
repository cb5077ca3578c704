// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package rest measures the agent's REST API: what a list of readers takes at the server, a command by remote loading, and many clients
// at once.
package rest
