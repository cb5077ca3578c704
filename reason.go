// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardbroker

// Reason is why something was not done, in one word that programs may rely on. Reasons cross the wire: once released
// they are append-only. Package api maps each to an HTTP status and a number, and docs/errors.md lists them.
type Reason string

// The reasons, in the order of docs/errors.md.
const (
	Invalid          Reason = "invalid"            // a malformed request; it changed nothing
	Unauthenticated  Reason = "unauthenticated"    // a token, ticket or claim is missing, expired or wrong
	ConsentRequired  Reason = "consent_required"   // the user has not said yes to this origin
	NoAgent          Reason = "no_agent"           // the caller is known, but no agent runs in his session
	Forbidden        Reason = "forbidden"          // policy or the firewall says no
	OriginDenied     Reason = "origin_denied"      // the Host or Origin check says no
	TenantDenied     Reason = "tenant_denied"      // the tenant's policy says no
	CallerRefused    Reason = "caller_refused"     // the caller is not identified, or is somebody else
	ReaderSharedHost Reason = "reader_shared_host" // a PC/SC service that several users can reach
	NotFound         Reason = "not_found"          // an unknown route, nothing else
	ReaderUnknown    Reason = "reader_unknown"     // no such reader
	ObjectUnknown    Reason = "object_unknown"     // no such slot, key, certificate or file
	Conflict         Reason = "conflict"           // already registered, or used twice
	StaleEpoch       Reason = "stale_epoch"        // an epoch lower than one that was seen
	SessionAmbiguous Reason = "session_ambiguous"  // several sessions of the caller's user fit
	ReaderBusy       Reason = "reader_busy"        // another holds the reader, or a call on it still runs
	CardAbsent       Reason = "card_absent"        // no card in the reader
	CardRemoved      Reason = "card_removed"       // the card was taken out meanwhile
	CardReset        Reason = "card_reset"         // the card was reset meanwhile
	CardMute         Reason = "card_mute"          // the card does not answer
	CardUnexpected   Reason = "card_unexpected"    // the card answered otherwise than the asker expects
	Indeterminate    Reason = "indeterminate"      // the command may have run; it is never run again
	PINIncorrect     Reason = "pin_incorrect"      // wrong PIN; Error.Retries are left
	PINBlocked       Reason = "pin_blocked"        // no tries are left
	PINCanceled      Reason = "pin_canceled"       // no PIN was entered: the prompt was closed, or could not be shown
	PINNotEncrypted  Reason = "pin_not_encrypted"  // a PIN in clear that policy does not allow
	TooLarge         Reason = "too_large"          // over a limit of size
	RateLimited      Reason = "rate_limited"       // over a limit of number or rate
	Unsupported      Reason = "unsupported"        // not on this system, protocol or card
	Overloaded       Reason = "overloaded"         // a queue is full; try again later
	PortsExhausted   Reason = "ports_exhausted"    // no port of the range is free
	Unavailable      Reason = "unavailable"        // a part that is needed is not there
	NoLeader         Reason = "no_leader"          // an election is running
	AgentRestarting  Reason = "agent_restarting"   // the broker holds the port of an agent that is gone
	AuditBroken      Reason = "audit_broken"       // the audit log is not what was recorded
	SessionUnknown   Reason = "session_unknown"    // no such session at the reader: it has ended, or is somebody else's
	Timeout          Reason = "timeout"            // a deadline passed
	Canceled         Reason = "canceled"           // the asker left
	Internal         Reason = "internal"           // a fault of the program
)

// Rule names the check that refused a caller: what `cardbroker host explain` prints. Rules are append-only.
type Rule string

// The rules, in the order in which a request meets them (docs/attack-surface.md).
const (
	RulePeerUnsupported    Rule = "peer_unsupported"     // this system cannot attest callers
	RulePeerNotLoopback    Rule = "peer_not_loopback"    // an address outside the loopback range
	RulePeerNotFound       Rule = "peer_not_found"       // the kernel knows no such connection
	RulePeerNotEstablished Rule = "peer_not_established" // the client's end is not ESTABLISHED
	RulePeerNoInode        Rule = "peer_no_inode"        // the client's end has no owner any more
	RulePeerMismatch       Rule = "peer_mismatch"        // the kernel answered for other addresses
	RulePeerOverflowUID    Rule = "peer_overflow_uid"    // a caller from another user namespace
	RulePeerNoProcess      Rule = "peer_no_process"      // pid 0: a caller from another pid namespace, or gone
	RuleSocketGone         Rule = "socket_gone"          // our own end is no longer ESTABLISHED
	RuleConnectionLimit    Rule = "connection_limit"     // too many connections of one user, or of one web page of his
	RuleRate               Rule = "rate"                 // too many requests of one user, or of one web page of his
	RuleHostHeader         Rule = "host_header"          // Host is not ours (DNS rebinding)
	RuleOriginNull         Rule = "origin_null"          // Origin: null
	RuleOriginMalformed    Rule = "origin_malformed"     // an Origin that is none
	RuleOriginUnconsented  Rule = "origin_unconsented"   // the user has not consented to this Origin
	RuleConsentPolicy      Rule = "consent_policy"       // machine policy denies this Origin
	RuleOwnPage            Rule = "own_page"             // what only programs of the user and the agent's own page may do
	RuleFetchNoOrigin      Rule = "fetch_without_origin" // a browser's request that hides its origin
	RuleCSRFToken          Rule = "csrf_token"           // no X-CSRF-Token on a request that changes something
	RuleMediaType          Rule = "media_type"           // a body that is not JSON
	RuleSocketOrigin       Rule = "socket_origin"        // a web page's WebSocket or EventSource without an Origin
	RulePageJWT            Rule = "page_jwt"             // a web page without the JWT that machine policy wants of its origin
	RuleLocalPrograms      Rule = "local_programs"       // a program that is no browser, where policy wants none
	RuleOtherUser          Rule = "other_user"           // the caller is another user than the agent's
	RuleNotAdmin           Rule = "not_admin"            // an administrator's route
	RuleListenerForeign    Rule = "listener_foreign"     // somebody else listens on the agent's port
	RuleListenerMissing    Rule = "listener_missing"     // nobody listens on the agent's port
	RuleSocketForeign      Rule = "socket_foreign"       // the broker's local socket, or a directory on its path, is somebody else's
	RuleClaim              Rule = "claim"                // no such reservation, or a wrong claim
	RuleQuota              Rule = "quota"                // too many reservations of one user
	RuleNoAgent            Rule = "no_agent"             // the caller's user has no agent
	RuleSessionAmbiguous   Rule = "session_ambiguous"    // several agents of the caller's user fit
	RuleTenantOrigin       Rule = "tenant_origin"        // a web page that may not offer readers to this tenant
	RuleTicket             Rule = "ticket"               // unknown, foreign, expired or used ticket
	RuleForward            Rule = "forward"              // a connection that is not forwarded to this user's agent
	RuleToken              Rule = "token"                // unknown back-end token
	RuleTokenTime          Rule = "token_time"           // a genuine token that is not valid now, by this host's clock
	RuleFirewall           Rule = "firewall"             // an APDU that the tenant may not send
	RulePINRate            Rule = "pin_rate"             // too many PINs of one web page, or of all
	RulePINClear           Rule = "pin_clear"            // a PIN in clear, which policy does not allow
	RulePINChallenge       Rule = "pin_challenge"        // a PIN that was encrypted for another agent, reader, page or moment
	RulePINFloor           Rule = "pin_floor"            // so few tries are left that the user has to enter his PIN himself
	RulePagePIN            Rule = "page_pin"             // a command of a web page that carries a PIN, or may hide one
	RuleScopeSameUser      Rule = "scope_same_user"      // the caller is another user than the elected leader's, who serves his own alone
	RulePortTaken          Rule = "port_taken"           // a port that an agent has bound by itself is another agent's, or none of the agents'
)
