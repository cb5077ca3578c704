// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardbroker

import "time"

// State is where an Agent stands in the Registry: RESERVED → REGISTERED ⇄ STALE → (released).
type State string

// The states.
const (
	Reserved   State = "RESERVED"   // a Port is promised; it must be registered before a deadline
	Registered State = "REGISTERED" // the Agent listens on its Port and holds its Link
	Stale      State = "STALE"      // the Link is lost; it must be back before a deadline
)

// AgentKey names an Agent: one per session of a user. Users come from the kernel; sessions are the user's own word.
type AgentKey struct {
	User    UserID
	Session SessionID
}

// Agent is what the Registry knows of one agent.
type Agent struct {
	Key   AgentKey
	Port  Port
	State State
	PID   int       // of the process that reserved or registered, for people; 0 if unknown
	Since time.Time // when it came into this State
	Route Route     // finds the Agent from a Ticket; set once registered
}
