// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package cardbroker is the dictionary of the program: the words that every other package uses, each with one
// meaning. It holds values only: it opens nothing, starts nothing and owns no goroutine.
//
// A Host is the shared machine. On it, each Session of each user runs an [Agent] on a [Port] of its own; the Broker
// keeps the table of them. A back end acts for a [Tenant] and uses a [Reader] through a Tunnel that it opened with a
// [Ticket].
package cardbroker
