// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package pcsc has the readers and cards of PC/SC: pcsc-lite, or the Smart Card service of Windows. It is a source for
// package sandbox, and the only place that speaks to them.
//
// PC/SC calls are C and cannot be cancelled, but for the watcher's wait. Each connection has a context of its own, because
// a context is locked while a call on it runs; the watcher has one, too. Nothing is cached: a service that went away is
// looked for again at the next use, for two seconds, and connections to the old one are gone.
//
// What the service says of failures becomes a [cardbroker.Reason] here, by one table. A command that the card may have seen
// is never sent again: where that is not known for certain, the answer is Indeterminate.
//
// A build for Unix without cgo has no readers: everything is Unavailable.
package pcsc
