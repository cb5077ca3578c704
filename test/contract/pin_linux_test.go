// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package contract_test

import (
	"fmt"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/test/sealed"
)

// piv is the application of the software card.
const piv = "A000000308000010000100"

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
	verify := "/cb/v1/readers/" + string(reader.ID) + "/verify-pin"
	seal := func(reference, pin string) option {
		blob, err := sealed.PKCS1(own.Data, []byte(pin))
		h.check(err)
		return body(fmt.Sprintf(`{"reference":%q,"aid":%q,"pin":%q}`, reference, piv, blob))
	}
	agent.ask("POST", verify, seal("80", "654321")).want(403, cardbroker.PINIncorrect)
	agent.ask("POST", verify, seal("80", "123456")).want(200, "")
	agent.ask("POST", verify, seal("99", "123456")).want(412, cardbroker.ObjectUnknown)
	agent.ask("POST", verify, body(`{"reference":"80","pin":"123456"}`)).want(412, cardbroker.PINNotEncrypted)
	agent.ask("POST", verify, body(`{"reference":"80"}`)).want(409, cardbroker.PINCanceled) // nobody can ask the user
	agent.ask("POST", "/cb/v1/readers/0000000000000000/verify-pin", seal("80", "123456")).want(412, cardbroker.ReaderUnknown)
}
