// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package contract runs a broker and its agents in one process, on the real kernel, store and sandbox, and holds every
// answer of every route against api/openapi.yaml.
package contract
