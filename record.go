// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardbroker

import "time"

// Reservation promises a Port to an Agent that does not listen yet.
type Reservation struct {
	Port     Port
	Deadline time.Time // monotonic: when the promise ends unless the Agent registers or renews before
}

// Record is what outlives a restart of the Broker: an Agent and the hash of its claim.
type Record struct {
	Agent Agent
	Claim [32]byte // SHA-256 of the claim
}

// Snapshot is all that a store holds, as of one moment.
type Snapshot struct {
	Epoch   uint64   // of the Registry that wrote last; 0: none did
	Salt    [32]byte // random, chosen when the store was made; decides where the search for a Port starts
	Records []Record // by ascending Port
}

// Changes are what one batch of the Registry does to a store: all of it lasts, or nothing.
type Changes struct {
	Epoch  uint64 // of the Registry that writes; a store that has seen a higher one refuses
	Put    []Record
	Delete []Port
}
