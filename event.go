// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardbroker

// EventName names what an audit log records. Names are append-only; docs/audit.md says which fields each has.
type EventName string

// The events, by who records them.
const (
	// The Broker, of itself.
	EventBrokerStarted     EventName = "broker_started"
	EventBrokerStopped     EventName = "broker_stopped"
	EventCertificateLoaded EventName = "certificate_loaded" // for browsers or back ends; also when it changed
	EventAdmin             EventName = "admin"              // an administrator changed something

	// The Broker, of the log itself.
	EventEventsLost  EventName = "events_lost"  // how many events are not here; agents tell of theirs, too
	EventLogTrimmed  EventName = "log_trimmed"  // old records were cut off: the last of them as an [Anchor]
	EventLogRepaired EventName = "log_repaired" // the end of a last line that a crash had torn was cut off
	EventLogDamaged  EventName = "log_damaged"  // the log was not as the Broker had left it; it goes on after what is kept

	// The Broker, of agents and callers.
	EventAgentRegistered EventName = "agent_registered"
	EventAgentLeft       EventName = "agent_left"
	EventCallerRefused   EventName = "caller_refused" // with the Rule; agents tell of theirs, too

	// The Broker, of back ends.
	EventTenantRefused EventName = "tenant_refused" // credentials that are no tenant's
	EventTokenIssued   EventName = "token_issued"
	EventTokenRefused  EventName = "token_refused"

	// Agents.
	EventConsentGranted  EventName = "consent_granted"
	EventConsentRefused  EventName = "consent_refused"
	EventConsentRevoked  EventName = "consent_revoked"
	EventOfferMade       EventName = "offer_made"
	EventTunnelOpened    EventName = "tunnel_opened"
	EventTunnelRefused   EventName = "tunnel_refused"
	EventTunnelEnded     EventName = "tunnel_ended"
	EventTunnelResumed   EventName = "tunnel_resumed" // its back end has come back over another connection
	EventLeaseRevoked    EventName = "lease_revoked"
	EventAPDURefused     EventName = "apdu_refused" // by the firewall; Count: how many by that rule since it was told last
	EventPINVerified     EventName = "pin_verified"
	EventPINRefused      EventName = "pin_refused" // with the Reason
	EventPINSessionBegun EventName = "pin_session_begun"
	EventPINSessionEnded EventName = "pin_session_ended"
	EventSessionLocked   EventName = "session_locked"
	EventSessionUnlocked EventName = "session_unlocked"
	EventSessionAway     EventName = "session_away" // its user has disconnected
	EventSessionBack     EventName = "session_back"
	EventRemoteOpened    EventName = "remote_loading_opened" // a page or program has a reader for itself
	EventRemoteEnded     EventName = "remote_loading_ended"
)

// ByAgents says whether agents may tell of such an event. All others are the Broker's own.
func (n EventName) ByAgents() bool {
	switch n {
	case EventConsentGranted, EventConsentRefused, EventConsentRevoked, EventOfferMade, EventTunnelOpened, EventTunnelRefused,
		EventTunnelEnded, EventTunnelResumed, EventLeaseRevoked, EventAPDURefused, EventPINVerified, EventPINRefused, EventPINSessionBegun,
		EventPINSessionEnded,
		EventSessionLocked, EventSessionUnlocked, EventSessionAway, EventSessionBack, EventRemoteOpened, EventRemoteEnded, EventEventsLost:
		return true
	}
	return false
}

// Event is one line of the audit log, before it is chained: what happened, to whom. It never holds a PIN, a ticket, a token
// or the data of an APDU. Fields that say nothing are left out.
type Event struct {
	Name    EventName `json:"event"`
	Reason  Reason    `json:"reason,omitempty"`
	Rule    Rule      `json:"rule,omitempty"`
	Origin  Origin    `json:"origin,omitempty"`
	Tenant  Tenant    `json:"tenant,omitempty"`
	Reader  string    `json:"reader,omitempty"` // its name
	Tunnel  string    `json:"tunnel,omitempty"` // 32 hexadecimal digits
	Method  string    `json:"method,omitempty"` // how a tenant was authenticated
	Address string    `json:"address,omitempty"`
	Count   uint64    `json:"count,omitempty"`  // of events that were lost, of refusals, or how often a lease was resumed
	Detail  string    `json:"detail,omitempty"` // for people
}
