// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardbroker

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
)

// ReaderID names a reader to those outside its session: 16 hexadecimal digits, stable for one agent and one asker. Web
// pages and each tenant see other ids of the same reader, so that they cannot compare notes.
type ReaderID string

// NewReaderID derives the id that local callers see from the agent's secret and the reader's name.
func NewReaderID(secret Secret, name string) ReaderID {
	return readerID(secret, "reader\x00"+name)
}

// ForTenant derives from a local id the one that the tenant sees.
func (id ReaderID) ForTenant(secret Secret, tenant Tenant) ReaderID {
	return readerID(secret, "tenant\x00"+string(tenant)+"\x00"+string(id))
}

// NewSlotID derives the id of a PKCS#11 module's slot that local callers see: it stands where a reader's may, and for the token
// with that serial number only.
func NewSlotID(secret Secret, module, description, serial string) ReaderID {
	return readerID(secret, "slot\x00"+module+"\x00"+description+"\x00"+serial)
}

func readerID(secret Secret, text string) ReaderID {
	mac := hmac.New(sha256.New, secret.Reveal())
	mac.Write([]byte(text))
	return ReaderID(hex.EncodeToString(mac.Sum(nil)[:8]))
}

// Protocol is a card's transmission protocol, as PC/SC Part 5 §3.2.2 and SCARD_PROTOCOL_* number them.
type Protocol uint32

// The protocols.
const (
	ProtocolUndefined Protocol = 0
	ProtocolT0        Protocol = 1
	ProtocolT1        Protocol = 2
)

// String returns "T0", "T1", or "" where none is negotiated.
func (p Protocol) String() string {
	switch p {
	case ProtocolT0:
		return "T0"
	case ProtocolT1:
		return "T1"
	}
	return ""
}

// ShareMode is how a card is connected, as SCARD_SHARE_* number them.
type ShareMode uint32

// The share modes.
const (
	ShareExclusive ShareMode = 1
	ShareShared    ShareMode = 2
	ShareDirect    ShareMode = 3
)

// String returns one word; "" for what is none.
func (m ShareMode) String() string {
	switch m {
	case ShareExclusive:
		return "exclusive"
	case ShareShared:
		return "shared"
	case ShareDirect:
		return "direct"
	}
	return ""
}

// Disposition is what happens to a card when a connection or transaction ends, as SCARD_*_CARD number them.
type Disposition uint32

// The dispositions.
const (
	LeaveCard   Disposition = 0
	ResetCard   Disposition = 1
	UnpowerCard Disposition = 2
	EjectCard   Disposition = 3
)

// Card is a card in a reader.
type Card struct {
	ATR      []byte   // 2 to 33 bytes, ISO/IEC 7816-3 §8.2
	Protocol Protocol // the one that is, or would first be, negotiated
}

// Reader is a card reader of a session.
type Reader struct {
	Name   string // as PC/SC names it, at most 127 bytes
	PINPad bool   // PC/SC Part 10: it can ask for a PIN by itself
	Card   *Card  // nil: none inside
}
