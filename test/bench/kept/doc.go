// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package kept measures how long the list of a card's certificates takes, through a PKCS#11 module in the sandbox and the agent's
// cache: from the card, from memory, and from disk after the agent has started again. It works on Linux.
package kept
