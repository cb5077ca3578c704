// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"net/netip"
	"time"

	"github.com/cardbroker/cardbroker"
)

// The JSON of the local socket: what agents and administrators' tools say to the broker. The caller is who the kernel
// says; nothing here names a user.

// Claim names an agent's own entry in the registry and proves, by the secret that the agent made up when it reserved,
// that it is the same agent. The body of reserve, renew and release.
type Claim struct {
	Session cardbroker.SessionID `json:"session"`
	Claim   string               `json:"claim"`           // 43 characters, as cardbroker.RandomSecret gives
	Avoid   []cardbroker.Port    `json:"avoid,omitempty"` // reserve only: ports that turned out to be taken
}

// Reservation answers reserve and renew.
type Reservation struct {
	Port     cardbroker.Port `json:"port"`
	Deadline time.Time       `json:"deadline"` // register before

	// Where the broker listens in the agent's place, and forwards to it: the agent binds nothing. Empty: it binds the port.
	Listen []string `json:"listen,omitempty"`
}

// Session is a row of `cardbroker host sessions`.
type Session struct {
	Session    cardbroker.SessionID `json:"session"`
	UID        *uint32              `json:"uid"` // null on Windows
	SID        string               `json:"sid"` // empty on Unix
	User       string               `json:"user"`
	PID        int                  `json:"pid"`
	Port       cardbroker.Port      `json:"port"`
	State      cardbroker.State     `json:"state"`
	Since      time.Time            `json:"since"`
	ListenerOK bool                 `json:"listener_ok"` // the kernel says that the user's own process listens there; or, if held, the broker
	Held       bool                 `json:"held"`        // the broker listens there, and forwards
	Kind       string               `json:"kind"`        // who keeps the session: logind, audit, xrdp, wts or none; empty: not said yet
	Presence   string               `json:"presence"`    // present, locked, away or unknown, in the agent's words
}

// Sessions answers GET /local/v1/sessions.
type Sessions struct {
	Sessions []Session `json:"sessions"`
	Epoch    uint64    `json:"epoch"`
}

// Explanation says who is behind a connection, and which rule decided on it.
type Explanation struct {
	Allowed bool                  `json:"allowed"`
	Rule    cardbroker.Rule       `json:"rule"` // what decided; "same_user" where it was allowed
	UID     *uint32               `json:"uid"`
	PID     *int                  `json:"pid"`
	Session *cardbroker.SessionID `json:"session"`
	Detail  string                `json:"detail"`
}

// Check is one finding of a doctor.
type Check struct {
	ID     string `json:"id"`
	Status string `json:"status"` // ok, warn, fail or unknown
	Detail string `json:"detail"`
	Fix    string `json:"fix"` // what to do; empty where nothing is to be done
}

// EpochHeader has the epoch of an elected leader, in each of its answers.
const EpochHeader = "Cardbroker-Epoch"

// How a host finds agents: by a service, by the agent that was elected, or not at all.
const (
	ModeService = "service"
	ModeElected = "elected"
	ModeNone    = "none"
)

// Diagnosis answers every doctor. Mode is how the host finds agents: service, elected or none.
type Diagnosis struct {
	Mode   string  `json:"mode"`
	Checks []Check `json:"checks"`
}

// The Link is a WebSocket that an agent keeps to the broker over the local socket. Each message is one object with one
// field set. It begins with Register and Registered; its end is the agent's end.

// LinkProtocol is the WebSocket subprotocol of a Link.
const LinkProtocol = "cardbroker.link.v1"

// FromAgent is a message from agent to broker.
type FromAgent struct {
	Register *Register      `json:"register,omitempty"`
	Offers   *Offers        `json:"offers,omitempty"`
	Refused  *TunnelRefused `json:"refused,omitempty"`
	Caller   *CallerRefused `json:"caller,omitempty"`
	Event    *Event         `json:"event,omitempty"`
	Presence *Presence      `json:"presence,omitempty"`
	Answer   *Answer        `json:"answer,omitempty"`
	Usage    *Usage         `json:"usage,omitempty"`
	// DeviceKey is told once for each link, as soon as it is made.
	DeviceKey *DeviceKey `json:"deviceKey,omitempty"`
	Voter     *Voter     `json:"voter,omitempty"` // to an elected leader: where it gossips now
}

// FromBroker is a message from broker to agent.
type FromBroker struct {
	Registered *Registered `json:"registered,omitempty"`
	Open       *TunnelOpen `json:"open,omitempty"`
	Failed     *ErrorBody  `json:"failed,omitempty"` // registration was refused; the link ends
	Sharing    *Sharing    `json:"sharing,omitempty"`
	Kicked     *Kicked     `json:"kicked,omitempty"`
	Ask        *Ask        `json:"ask,omitempty"`
	Forward    *Forward    `json:"forward,omitempty"`

	Revoke *RevokeLease `json:"revoke,omitempty"`
	Voters *Voters      `json:"voters,omitempty"` // from an elected leader
}

// Register asks for REGISTERED: the agent listens on its port.
type Register struct {
	Claim
	IPv6 bool `json:"ipv6"` // it listens on [::1] too

	// Port is what an agent asserts that stands for election: it has bound that port, and nobody had to reserve it. The broker
	// believes the kernel. 0: the port that was reserved.
	Port  cardbroker.Port `json:"port,omitempty"`
	Voter *Voter          `json:"voter,omitempty"` // who it is as a candidate; nil: it does not stand for election
}

// Voter is an agent that may be elected. It is a hint, and nobody's proof.
type Voter struct {
	Name   string         `json:"name"`   // made up by the process, unique
	Born   uint64         `json:"born"`   // microseconds from the host's start to that of the process
	Gossip netip.AddrPort `json:"gossip"` // where it gossips, on loopback; zero: it does not
}

// Voters are the agents that an elected leader has appointed to gossip with each other, the oldest first.
type Voters struct {
	Voters []Voter `json:"voters"`
}

// Registered answers [Register].
type Registered struct {
	Port       cardbroker.Port  `json:"port"`
	Route      cardbroker.Route `json:"route"`      // for the tickets of this registration
	BackendURL string           `json:"backendUrl"` // wss://host:port of the back-end door; empty: there is none
	Host       string           `json:"host"`
	Epoch      uint64           `json:"epoch"`
	Mode       string           `json:"mode"` // service or elected
	Sharing    Sharing          `json:"sharing"`
	Name       string           `json:"name,omitempty"` // that web pages may call this host by, besides localhost
	// Dialled are the rendezvous that the broker calls, wss://host:port, by tenant.
	Dialled map[cardbroker.Tenant]string `json:"dialled,omitempty"`
}

// Sharing tells an agent whether agents of another user are on the host. Of two that cross, the one with more turns is newer.
type Sharing struct {
	Shared bool   `json:"shared"`
	Turns  uint64 `json:"turns"` // how often it has changed since the broker's start
}

// ForwardProtocol is what a request for a forwarded connection upgrades to: after it come the caller's bytes.
const ForwardProtocol = "cardbroker.forward.v1"

// Forward tells an agent of a connection that the broker has accepted in its place, and who is behind it, as the kernel says.
// The agent fetches the connection from GET /local/v1/forwards/{id}.
type Forward struct {
	ID     string         `json:"id"`  // 32 hexadecimal digits
	UID    *uint32        `json:"uid"` // null on Windows
	SID    string         `json:"sid,omitempty"`
	Client netip.AddrPort `json:"client"`
	Server netip.AddrPort `json:"server"`
	PID    int            `json:"pid,omitempty"`
	Inode  uint32         `json:"inode,omitempty"`
	Cgroup uint64         `json:"cgroup,omitempty"`
	TLS    bool           `json:"tls"` // the caller speaks TLS
}

// User returns who the caller is.
func (f Forward) User() cardbroker.UserID {
	if f.UID == nil {
		return cardbroker.UserID{SID: f.SID}
	}
	return cardbroker.UserID{UID: *f.UID}
}

// Offers is all that an agent offers at the moment; it replaces what it said before. The broker keeps it in memory, for
// lists.
type Offers struct {
	Offers []OfferedReader `json:"offers"`
	Leases []Lease         `json:"leases"`
}

// Fit leaves out the last offers until the message to the broker has max bytes or fewer: it is not taken otherwise.
func (o *Offers) Fit(max int) {
	for len(o.Offers) > 0 {
		text, err := json.Marshal(FromAgent{Offers: o})
		if err != nil {
			panic("BUG: offers are not JSON: " + err.Error())
		}
		if len(text) <= max {
			return
		}
		o.Offers = o.Offers[:len(o.Offers)*7/8]
	}
}

// OfferedReader is one reader that is offered to, or held by, a tenant.
type OfferedReader struct {
	Tenant cardbroker.Tenant   `json:"tenant"`
	ID     cardbroker.ReaderID `json:"id"` // the tenant's id of it
	Name   string              `json:"name"`
	Card   *Card               `json:"card"`
	Lease  *ReaderLease        `json:"lease"`

	Standing bool `json:"standing,omitempty"` // for good, by machine policy: it takes no ticket
}

// TunnelOpen tells an agent that an authenticated back end wants a tunnel. The agent checks and burns the ticket, then
// dials the tunnel's own WebSocket, or answers with [TunnelRefused].
type TunnelOpen struct {
	ID      string              `json:"id"` // 32 hexadecimal digits
	Tenant  cardbroker.Tenant   `json:"tenant"`
	Method  string              `json:"method"`  // how the tenant was authenticated: token, certificate, jwt or rendezvous
	Address string              `json:"address"` // of the back end, for the user
	Reader  cardbroker.ReaderID `json:"reader"`  // TicketReader: the ticket's own
	Ticket  string              `json:"ticket"`  // empty: the reader is offered for good

	Credential string `json:"credential,omitempty"` // by which: the certificate's SHA-256 in hexadecimal, or the JWT's jti
}

// TunnelRefused answers [TunnelOpen].
type TunnelRefused struct {
	ID    string    `json:"id"`
	Error ErrorBody `json:"error"`
}

// CallerRefused tells the broker of a caller that the agent refused, for `cardbroker host explain`.
type CallerRefused struct {
	Client string            `json:"client"` // address and port
	Server string            `json:"server"`
	UID    *uint32           `json:"uid"`
	Reason cardbroker.Reason `json:"reason"`
	Rule   cardbroker.Rule   `json:"rule"`
	Detail string            `json:"detail"`
}

// Event tells the broker of something that its audit log records.
type Event struct {
	Time time.Time `json:"time"` // by the agent's clock
	cardbroker.Event
}

// Presence tells the broker how the agent's session stands; it replaces what was said before. It is for lists, but for the
// display, by which the broker tells sessions of one user apart where the system does not.
type Presence struct {
	Kind    string `json:"kind"`              // logind, audit, xrdp, wts or none
	Display string `json:"display,omitempty"` // such as ":10"
	Known   bool   `json:"known"`             // the system tells of locks and disconnects
	Locked  bool   `json:"locked"`
	Away    bool   `json:"away"`
}

// Word says it in one word.
func (p Presence) Word() string {
	switch {
	case p.Away:
		return "away"
	case p.Locked:
		return "locked"
	case !p.Known:
		return "unknown"
	}
	return "present"
}

// Kick asks the broker to end an agent. User is a name or an id; empty: whoever has a session of that name.
type Kick struct {
	Session cardbroker.SessionID `json:"session"`
	User    string               `json:"user,omitempty"`
}

// Kicked tells an agent that an administrator has ended it: it releases its port and is not to come back by itself.
type Kicked struct{}

// RevokeLease tells an agent that an administrator has ended a back end's lease.
type RevokeLease struct {
	Tunnel string `json:"tunnel"` // 32 hexadecimal digits
}

// LeaseRevoked answers an administrator's revocation.
type LeaseRevoked struct {
	Cut bool `json:"cut"` // the agent did not end the lease within a second, or could not be told; the broker has cut the tunnel
}

// UID returns a user's uid for JSON: nil on Windows, where his SID names him.
func UID(id cardbroker.UserID) *uint32 {
	if id.SID != "" {
		return nil
	}
	return &id.UID
}
