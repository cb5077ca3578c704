// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package quiet reads from and writes to sockets by system calls that the runtime takes no note of.
//
// A call that may block is one that the runtime prepares for: in a process that was at rest it wakes up its monitor, a thread that then
// looks around every 20 µs until the process rests again. A program that waits for the next step of a command several times in each one
// pays for that each time, with context switches and timers on processors that others need for the same command. The calls here are told
// not to wait, so there is nothing to prepare for: who has to wait does so in the runtime's poller, as with package net.
package quiet
