// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package loginbed runs a real systemd-logind for tests, on a message bus and in a mount namespace of its own, so that it
// knows nothing of the host's sessions and the host nothing of its. In place of systemd it has a few lines that start no
// unit and say that they have. It works on Linux, as root, where dbus-daemon and systemd are installed.
package loginbed
