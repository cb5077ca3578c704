// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package contract_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/virtualreader"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// Paths that fit no more and no less than one route each.
const (
	anyReader = "/v3/readers/0000000000000000"
	anyLease  = "/cb/v1/leases/00000000000000000000000000000000/revoke"
	anyTunnel = "/cb/v1/readers/-/tunnel"
)

// routes are what each server has, with the access of each.
var routes = map[string][]struct {
	method, path string
	public       bool
}{
	"broker": {{"GET", "/cb/v1/agent", false}, {"GET", "/healthz", true}, {"GET", "/info", true}, {"GET", "/openapi.yaml", true}},
	"agent": {
		{"GET", "/cb/v1/events", false}, {"GET", "/cb/v1/leases", false}, {"POST", anyLease, false}, {"POST", "/cb/v1/offers", false},
		{"GET", "/info", true}, {"GET", "/openapi.yaml", true}, {"GET", "/v3/readers", false}, {"GET", anyReader, false},
	},
	"door": {{"GET", "/cb/v1/readers", false}, {"GET", "/cb/v1/readers/events", false}, {"GET", anyTunnel, false}},
}

// unseen are documented answers that the test does not bring about, by their ends, and why.
var unseen = []struct{ end, why string }{
	{" 500", "a fault of the program"},
	{"broker GET /info 503", "the kernel cannot be asked who is calling"},
	{"broker GET /openapi.yaml 503", "the same"},
	{"door GET /cb/v1/readers 503", "a queue is full"},
	{"door GET /cb/v1/readers/events 503", "the same"},
	{"agent GET /cb/v1/events 504", "a sandbox hangs"},
	{"agent GET /v3/readers 504", "the same"},
	{"agent GET /v3/readers/{id} 504", "the same"},
	{"agent POST /cb/v1/offers 504", "the same"},
	{"agent POST /cb/v1/leases/{tunnel}/revoke 504", "the same"},
}

// TestEveryAnswer brings about every answer of every route, and holds each against the document.
func TestEveryAnswer(t *testing.T) {
	h := newHost(t)
	onBroker, atDoor := asked{h, "broker", h.broker}, asked{h, "door", h.door}
	h.beforeLogon(onBroker)
	address, logoff := h.logon("one", sandbox)
	onAgent := asked{h, "agent", address}
	servers := []asked{onBroker, onAgent, atDoor}
	h.broker_(onBroker)
	h.agent_(onAgent)
	h.door_(onAgent, atDoor)
	for _, server := range servers {
		h.refusals(server)
	}
	h.secondSession(onBroker, atDoor)
	for _, server := range servers {
		h.tooMany(server)
	}
	logoff()
	h.afterLogoff(onAgent)
	h.counted()
}

// beforeLogon asks a broker that knows nobody.
func (h *host) beforeLogon(b asked) {
	b.ask("GET", "/cb/v1/agent").want(412, cardbroker.NoAgent)
	claim := api.Claim{Session: "one", Claim: string(cardbroker.RandomSecret().Reveal())}
	_, err := h.client().Reserve(h.t.Context(), claim)
	h.check(err)
	b.ask("GET", "/cb/v1/agent").want(503, cardbroker.AgentRestarting)
	h.check(h.client().Release(h.t.Context(), claim))
}
