// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package api

// A host that lets nobody in calls a back end's rendezvous, and keeps that WebSocket. Each message is one object with one field
// set. It begins with Hello and Welcome. Then the rendezvous asks for connections, by ids that nobody can guess; the host
// fetches each with a request that upgrades to [ReverseProtocol]. From there on the sides are turned: the back end sends
// HTTP requests as it would at the host's door.

// RendezvousProtocol is the WebSocket subprotocol of a host's call.
const RendezvousProtocol = "cardbroker.rendezvous.v1"

// ReverseProtocol is what a host's request for a connection upgrades to.
const ReverseProtocol = "cardbroker.reverse.v1"

// FromHost is a message from host to rendezvous.
type FromHost struct {
	Hello  *HostHello      `json:"hello,omitempty"`
	Failed *ConnectFailed  `json:"failed,omitempty"`
	Ping   *RendezvousPing `json:"ping,omitempty"`
}

// FromRendezvous is a message from rendezvous to host.
type FromRendezvous struct {
	Welcome *RendezvousWelcome `json:"welcome,omitempty"`
	Connect *Connect           `json:"connect,omitempty"`
	Ping    *RendezvousPing    `json:"ping,omitempty"`
}

// HostHello says which host calls.
type HostHello struct {
	Host    string `json:"host"`
	Version string `json:"version"`
}

// RendezvousWelcome answers [HostHello].
type RendezvousWelcome struct{}

// Connect asks the host to connect once more, for this id.
type Connect struct {
	ID string `json:"id"` // 32 hexadecimal digits
}

// ConnectFailed says that no connection will come for the id.
type ConnectFailed struct {
	ID    string    `json:"id"`
	Error ErrorBody `json:"error"`
}

// RendezvousPing says that the side that sends it is there. It is not answered.
type RendezvousPing struct{}
