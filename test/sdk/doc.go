// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package sdk tests the JavaScript SDK of sdk/js by its own tools: its types are those of api/openapi.yaml, its units pass in
// node, and what the demo page has of it is what its sources say. What it does in a browser is tested in package browser.
package sdk
