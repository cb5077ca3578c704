// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package storm measures the registry of agents when all come at once, and when its disk does not answer. It works on Linux.
package storm
