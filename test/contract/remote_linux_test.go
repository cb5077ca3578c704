// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package contract_test

import (
	"fmt"
	"strings"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
)

// remote is where remote loading's routes begin.
const remote = "/v3/modules/remoteloading/apps/hsm/readers/"

// remoteCall is one of remote loading's: a body that is good, one that is not, and whether it uses the card.
type remoteCall struct {
	action, good, bad string
	card              bool
}

func remoteCalls() []remoteCall {
	return []remoteCall{
		{"apdu", `{"apdu":{"cla":"00","ins":"84","p1":"00","p2":"00","le":"08"}}`, `{"apdu":{}}`, true},
		{"apdus", `{"apdus":[{"cla":"00","ins":"84","p1":"00","p2":"00","data":"","le":"08"}]}`, `{"apdus":[]}`, true},
		{"atr", `{}`, `{"session":""}`, false},
		{"card-present", `{}`, `[]`, false},
		{"ccid", `{"feature":"GET_TLV_PROPERTIES","command":""}`, `{"feature":"ESCAPE","command":""}`, true},
		{"ccid-features", `{}`, `{"sessionId":1}`, true},
		{"close-session", `{}`, `{`, false},
		{"command", `{"command":"0084000008"}`, `{"command":"00840000080"}`, true},
		{"commands", `{"commands":["0084000008","0084000008"]}`, `{"commands":["0084000008","00"]}`, true},
		{"open-session", `{"timeout":30}`, `{"timeout":601}`, true},
	}
}

// remoteSeen has a program and a page use the card.
func (h *host) remoteSeen(agent asked, reader api.CardReader) {
	at := remote + string(reader.ID) + "/"
	var opened struct{ Data string }
	agent.ask("POST", at+"open-session", body("{}")).want(200, "").into(&opened)
	session := `"sessionId":"` + opened.Data + `"`
	for _, call := range remoteCalls() {
		agent.ask("POST", at+call.action, body(call.bad)).want(400, cardbroker.Invalid)
		agent.ask("POST", remote+"0000000000000000/"+call.action, body(call.good)).want(412, cardbroker.ReaderUnknown)
		if call.action == "open-session" || call.action == "close-session" {
			continue
		}
		status, reason := 200, cardbroker.Reason("")
		if call.action == "ccid" { // the agent has no prompt
			status, reason = 501, cardbroker.Unsupported
		}
		within := strings.Replace(strings.TrimSuffix(call.good, "}")+","+session+"}", "{,", "{", 1)
		agent.ask("POST", at+call.action, body(within)).want(status, reason)
		agent.ask("POST", at+call.action, body(strings.Replace(within, opened.Data, "unknown", 1))).want(412, cardbroker.SessionUnknown)
	}
	agent.ask("POST", at+"close-session", body("{"+session+"}")).want(200, "")
	agent.ask("POST", at+"close-session", body("{"+session+"}")).want(412, cardbroker.SessionUnknown)
	agent.ask("POST", at+"command", body(fmt.Sprintf(`{"command":%q}`, "002000800831323334353637FF"))).want(200, "")
}
