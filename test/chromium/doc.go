// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package chromium runs Debian's Chromium without a display as a user of the host, and has pages load and run scripts in it.
// It speaks the DevTools protocol over two pipes: a debugging port would be open to every user of the host. It works on
// Linux; only tests import it.
package chromium
