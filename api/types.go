// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/hex"
	"strings"
	"time"

	"github.com/cardbroker/cardbroker"
)

// T1CVersion is the version of the Trust1Connector contract that /info announces: it selects the branches of existing
// clients.
const T1CVersion = "3.6.1"

// Success is the envelope of every successful answer below /v3.
type Success struct {
	Success bool `json:"success"` // always true
	Data    any  `json:"data"`
}

// Info is the answer of GET /info, without an envelope: older clients do not unwrap it. Any web page can read it, so
// what would tell pages apart or name the user is empty.
type Info struct {
	OS         InfoOS         `json:"t1CInfoOS"`
	Runtime    InfoRuntime    `json:"t1CInfoRuntime"`
	User       InfoUser       `json:"t1CInfoUser"`
	API        InfoAPI        `json:"t1CInfoAPI"`
	Cardbroker InfoCardbroker `json:"cardbroker"`
}

// InfoOS names the host's system.
type InfoOS struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Version      string `json:"version"`
}

// InfoRuntime names what the program runs in.
type InfoRuntime struct {
	Runtime  string `json:"runtime"`
	Desktop  string `json:"desktop"`
	Version  string `json:"version"`
	DateTime string `json:"dateTime"`
}

// InfoUser has the fields of existing clients; all but HostName are empty.
type InfoUser struct {
	Timezone     string `json:"timezone"`
	Country      string `json:"country"`
	Language     string `json:"language"`
	Home         string `json:"home"`
	TempDir      string `json:"tempDir"`
	Name         string `json:"name"`
	Username     string `json:"username"`
	HostName     string `json:"hostName"`
	InstalledDir string `json:"installedDir"`
}

// InfoAPI says which part answers.
type InfoAPI struct {
	Service    InfoService `json:"service"`
	Activated  bool        `json:"activated"`
	UID        string      `json:"uid"`
	Modules    []string    `json:"modules"`
	Version    string      `json:"version"` // T1CVersion
	LogLevel   string      `json:"logLevel"`
	JWTEnabled bool        `json:"jwtEnabled"`
}

// InfoService says where it answers, and as what: PROXY (the broker) or AGENT.
type InfoService struct {
	URL        string          `json:"url"`
	APIPort    cardbroker.Port `json:"apiPort"`
	GRPCPort   cardbroker.Port `json:"gRpcPort"` // always 0
	DeviceType string          `json:"deviceType"`
}

// InfoCardbroker is what cardbroker adds: its own version, and how the host finds agents: service, elected or none.
type InfoCardbroker struct {
	Version string `json:"version"`
	Mode    string `json:"mode"`
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
	ATR         string   `json:"atr"`         // upper-case hexadecimal
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
	Event  string              `json:"event"` // one of the Event constants
	Reader cardbroker.ReaderID `json:"reader"`
	ATR    string              `json:"atr"` // of the card that came in, upper-case hexadecimal; else empty
	Time   time.Time           `json:"time"`
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
	Reader  string               `json:"reader"` // its name
	Session cardbroker.SessionID `json:"session,omitempty"`
	Since   time.Time            `json:"since"`
	Expires time.Time            `json:"expires"`
}

// Leases answers GET /cb/v1/leases.
type Leases struct {
	Leases []Lease `json:"leases"`
}
