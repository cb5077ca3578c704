// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package hostsession names the sessions of the operating system: which logon a process or a socket belongs to. It only
// reads. Its answers are hints, never proof: on Linux a process chooses much of what they are made of, so they route
// among the agents of one user, and the user comes from package peer.
package hostsession
