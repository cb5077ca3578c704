// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package browser tests the real programs with real browsers: Chromium without a display, as several users of one host at a
// time, in a network and a mount namespace of the tests' own. There are the address of a public web site, one of an intranet,
// and the browser's machine policies, which on the machine itself nothing changes.
package browser
