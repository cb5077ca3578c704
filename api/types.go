// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/hex"
	"strings"
	"time"

	"github.com/cardbroker/cardbroker"
)

// Success is the envelope of every successful answer below /v3.
type Success struct {
	Success bool `json:"success"` // always true
	Data    any  `json:"data"`
}

// OwnAgent is the answer of GET /cb/v1/agent: the caller's own agent.
type OwnAgent struct {
	Port                cardbroker.Port      `json:"port"`
	Session             cardbroker.SessionID `json:"session"`
	State               cardbroker.State     `json:"state"`
	DeviceKeyThumbprint string               `json:"deviceKeyThumbprint"` // empty until the agent has a device key
}

// CardReader is a reader below /v3/readers, as existing clients expect it.
type CardReader struct {
	ID     cardbroker.ReaderID `json:"id"`
	Name   string              `json:"name"`
	PINPad bool                `json:"pinpad"`
	Card   *CardReaderCard     `json:"card,omitempty"`
}

// CardReaderCard is the card in it.
type CardReaderCard struct {
	ATR         string   `json:"atr"`         // upper-case hexadecimal; empty if the card is mute
	Description []string `json:"description"` // what the card probably is; empty if unknown
	Modules     []string `json:"modules"`     // token modules that fit; empty if none
}

// Offer asks the agent to offer a reader to a tenant: the body of POST /cb/v1/offers.
type Offer struct {
	Reader cardbroker.ReaderID `json:"reader"`
	Tenant string              `json:"tenant"`
}

// Offered answers [Offer]: what a page or program hands to its back end. The ticket works once, until Expires.
type Offered struct {
	Ticket  string              `json:"ticket"`
	URL     string              `json:"url"`
	Expires time.Time           `json:"expires"`
	Reader  cardbroker.ReaderID `json:"reader"` // the tenant's id of it
}

// RemoteReader is a reader that is offered to a back end's tenant.
type RemoteReader struct {
	ID      cardbroker.ReaderID  `json:"id"`
	Name    string               `json:"name"`
	Host    string               `json:"host"`
	Session cardbroker.SessionID `json:"session"`
	Card    *Card                `json:"card"`
	Lease   *ReaderLease         `json:"lease"`
}

// Card is a card in JSON.
type Card struct {
	ATR      string `json:"atr"`      // upper-case hexadecimal
	Protocol string `json:"protocol"` // "T0", "T1", or "" where none is negotiated
}

// NewCard returns c in JSON; nil for nil.
func NewCard(c *cardbroker.Card) *Card {
	if c == nil {
		return nil
	}
	return &Card{ATR: strings.ToUpper(hex.EncodeToString(c.ATR)), Protocol: c.Protocol.String()}
}

// ReaderLease says which tenant holds a reader, and until when.
type ReaderLease struct {
	Tenant  cardbroker.Tenant `json:"tenant"`
	Expires time.Time         `json:"expires"`
}

// RemoteReaders answers GET /cb/v1/readers.
type RemoteReaders struct {
	Readers []RemoteReader `json:"readers"`
}

// ReaderEvent is one change of a reader, pushed to whoever watches.
type ReaderEvent struct {
	Event       string              `json:"event"` // one of the Event constants
	Reader      cardbroker.ReaderID `json:"reader"`
	ATR         string              `json:"atr"` // of the card that came in, upper-case hexadecimal; empty: there is none, or it is mute
	Time        time.Time           `json:"time"`
	Name        string              `json:"name,omitempty"`        // of the reader
	Description []string            `json:"description,omitempty"` // what that card probably is; for local callers only
}

// The events.
const (
	EventReaderAdded   = "reader_added"
	EventReaderRemoved = "reader_removed"
	EventCardIn        = "card_in"
	EventCardOut       = "card_out"
)

// Lease is a back end's use of a reader, as its user sees it: a row of GET /cb/v1/leases on the agent and of
// `cardbroker host leases`.
type Lease struct {
	Tunnel  string               `json:"tunnel"` // 32 hexadecimal digits
	Tenant  cardbroker.Tenant    `json:"tenant"`
	Reader  string               `json:"reader"`            // its name
	Method  string               `json:"method,omitempty"`  // how the tenant has shown who it is: token, certificate, jwt or rendezvous
	Backend string               `json:"backend,omitempty"` // the back end's address and port
	Session cardbroker.SessionID `json:"session,omitempty"`
	User    string               `json:"user,omitempty"` // whose session; `cardbroker host leases` only
	Since   time.Time            `json:"since"`
	Expires time.Time            `json:"expires"`
	Share   string               `json:"share,omitempty"` // shared, exclusive or direct
	Cut     *time.Time           `json:"cut,omitempty"`   // since when the back end has no connection, and may come back; nil: it has one
}

// Leases answers GET /cb/v1/leases.
type Leases struct {
	Leases []Lease `json:"leases"`
}
