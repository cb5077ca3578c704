// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package bare has the limits of a tunnel, which have nothing around them: client → relay → echo → relay → client, each
// relay in a process of its own. One is TCP with four bytes of length before each message, the other gorilla in its best
// use. It listens on loopback only, and works on Linux.
package bare
