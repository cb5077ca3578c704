// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package api

// OpenRemote opens a session at a reader: the body of POST …/remoteloading/apps/hsm/readers/{id}/open-session.
type OpenRemote struct {
	Timeout *int `json:"timeout,omitempty"` // seconds from one call to the next, 1 to 600; nil: 30
}

// RemoteSession is the body of remote loading's calls that say nothing but for which session they are.
type RemoteSession struct {
	SessionID string `json:"sessionId,omitempty"` // empty: for none
}

// RemoteCommand is the body of …/command.
type RemoteCommand struct {
	Command   string `json:"command"` // a command APDU in hexadecimal
	SessionID string `json:"sessionId,omitempty"`
}

// RemoteCommands is the body of …/commands.
type RemoteCommands struct {
	Commands  []string `json:"commands"`
	SessionID string   `json:"sessionId,omitempty"`
}

// RemoteAPDU is the body of …/apdu.
type RemoteAPDU struct {
	APDU      APDU   `json:"apdu"`
	SessionID string `json:"sessionId,omitempty"`
}

// RemoteAPDUs is the body of …/apdus.
type RemoteAPDUs struct {
	APDUs     []APDU `json:"apdus"`
	SessionID string `json:"sessionId,omitempty"`
}

// APDU is a command APDU by its parts, in hexadecimal. It has the extended form if its data have over 255 bytes or its Le has
// two bytes.
type APDU struct {
	CLA  string `json:"cla"`
	INS  string `json:"ins"`
	P1   string `json:"p1"`
	P2   string `json:"p2"`
	Data string `json:"data,omitempty"`
	Le   string `json:"le,omitempty"` // one byte or two; 00 is 256, 0000 is 65,536; empty: there is none
}

// RemoteCCID is the body of …/ccid.
type RemoteCCID struct {
	Feature   string `json:"feature"` // one of those that …/ccid-features answers
	Command   string `json:"command"` // what the feature wants, PC/SC Part 10, in hexadecimal
	SessionID string `json:"sessionId,omitempty"`
}

// RemoteAnswer is what a card, or a reader, has answered to a command.
type RemoteAnswer struct {
	SW string `json:"sw"`           // four hexadecimal digits, in capitals
	TX string `json:"tx"`           // the command, in hexadecimal capitals
	RX string `json:"rx,omitempty"` // the data of the answer, likewise, without the status word; empty: none
}
