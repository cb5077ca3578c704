// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package contract_test

import (
	"encoding/json"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/test/sealed"
)

// pinsSeen asks for the agent's device key, at both ends, and has the card's PIN verified.
func (h *host) pinsSeen(broker, agent asked, reader api.CardReader) {
	pace := time.NewTicker(50 * time.Millisecond) // below the rate that one user may ask at
	defer pace.Stop()
	for broker.ask("GET", "/device-key").status == 503 { // the key is being made
		<-pace.C
	}
	var own, brokers struct{ Data string }
	agent.ask("GET", "/device-key").want(200, "").into(&own)
	broker.ask("GET", "/device-key").want(200, "").into(&brokers)
	if own != brokers {
		h.t.Error("the broker answers with another key than the agent's")
	}
	agent.ask("GET", "/cb/v1/device-key").want(200, "")
	agent.ask("POST", "/cb/v1/pin-challenges", body("{}")).want(200, "")
	key, err := sealed.PublicKey(own.Data)
	h.check(err)
	verify := "/cb/v1/readers/" + string(reader.ID) + "/verify-pin"
	for pin, want := range map[string]struct {
		status int
		reason cardbroker.Reason
	}{"123456": {200, ""}, "654321": {403, cardbroker.PINIncorrect}} {
		blob, err := sealed.PKCS1(key, []byte(pin))
		h.check(err)
		text, err := json.Marshal(map[string]string{"reference": "80", "aid": "A000000308000010000100", "pin": blob})
		h.check(err)
		agent.ask("POST", verify, body(string(text))).want(want.status, want.reason)
	}
}
