// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package hostsession names the sessions of the operating system: which logon a process or a socket belongs to, and what
// becomes of one: it is locked, left, come back to, over. It only reads. Its answers are hints, never proof: on Linux a
// process chooses much of what they are made of, so they route among the agents of one user, and the user comes from package
// peer. docs/sessions.md says what each kind of session can tell.
package hostsession

import "github.com/cardbroker/cardbroker"

// Kind is who keeps a session.
type Kind string

// The kinds.
const (
	Logind Kind = "logind" // systemd-logind or elogind: all events
	Audit  Kind = "audit"  // the kernel's audit alone, set by pam_loginuid: its end
	XRDP   Kind = "xrdp"   // xrdp's session manager alone: its end
	WTS    Kind = "wts"    // Windows: all events, and shadowing
	None   Kind = "none"   // nobody: su, runuser, a container. No events
)

// Session is the session of this process. Make it with [Own].
type Session struct {
	// ID is unique among the sessions of the host, as long as it runs: what the system numbers anew, as xrdp its displays and
	// Windows its sessions, carries when the session began. Nothing that outlives a session is to be kept under it.
	ID   cardbroker.SessionID
	Kind Kind

	//lint:ignore U1000 of Linux
	leader process // whose end is the session's; zero: nobody's is
	//lint:ignore U1000 of Linux
	bus string // address of the bus that logind is on; empty: the system's. For tests
}

// Event is what happened to a session.
type Event string

// The events.
const (
	Watched   Event = "watched"    // from now on all events of the session are told
	LockAsked Event = "lock_asked" // somebody wants the screen locked; whether anything does so is not known yet
	Locked    Event = "locked"     // the screen is locked
	Unlocked  Event = "unlocked"
	Away      Event = "away"     // the user has disconnected, or another sits at the seat
	Back      Event = "back"     // he is there again, perhaps at another endpoint
	Shadowed  Event = "shadowed" // somebody else begins or ends to see the session's screen
	Ended     Event = "ended"    // the last
)

// state is how a session stands; events are the differences between two.
type state struct{ locked, away, ended bool }

// tell tells what has happened between two states, in the order that gives least away.
func (before state) tell(now state, tell func(Event)) {
	for _, e := range []struct {
		happened bool
		event    Event
	}{
		{now.locked && !before.locked, Locked},
		{now.away && !before.away, Away},
		{!now.away && before.away, Back},
		{!now.locked && before.locked, Unlocked},
		{now.ended && !before.ended, Ended},
	} {
		if e.happened {
			tell(e.event)
		}
	}
}
