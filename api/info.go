// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"runtime"
	"time"

	"github.com/cardbroker/cardbroker"
)

// T1CVersion is the version of the Trust1Connector contract that /info announces: it selects the branches of existing
// clients.
const T1CVersion = "3.6.1"

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
	URL        string          `json:"url"` // scheme and name, as the page asked; httpserver.URL
	APIPort    cardbroker.Port `json:"apiPort"`
	GRPCPort   cardbroker.Port `json:"gRpcPort"` // always 0
	DeviceType string          `json:"deviceType"`
}

// InfoCardbroker is what cardbroker adds: its own version, and how the host finds agents: service, elected or none.
type InfoCardbroker struct {
	Version string `json:"version"`
	Mode    string `json:"mode"`
	Epoch   uint64 `json:"epoch,omitempty"` // of the registry; an agent has none
}

// NewInfo returns what broker and agent say alike, with the host's name, where they answer and what they are.
func NewInfo(host string, service InfoService, own InfoCardbroker) Info {
	return Info{
		OS:         InfoOS{Architecture: runtime.GOARCH, OS: runtime.GOOS},
		Runtime:    InfoRuntime{Runtime: "cardbroker", DateTime: time.Now().UTC().Format(time.RFC3339)},
		User:       InfoUser{HostName: host},
		API:        InfoAPI{Service: service, Activated: true, Modules: []string{}, Version: T1CVersion, LogLevel: "INFO"},
		Cardbroker: own,
	}
}
