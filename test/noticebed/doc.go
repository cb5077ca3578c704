// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package noticebed is a desktop's notification service for tests, on a message bus of its own: it takes notices and presses
// their buttons. It works on Linux, where dbus-daemon is installed.
package noticebed
