// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/test/stage"
)

// remote is a user's program that loads remotely, at one reader.
type remote struct {
	h          *host
	p          *stage.Person
	at, reader string
}

// post makes one of the calls and returns the data, or the reason of the error.
func (r remote) post(action, body string) string {
	r.h.t.Helper()
	a := r.h.ask(r.p, "tcp4", r.at, request("POST", r.at, "/v3/modules/remoteloading/apps/hsm/readers/"+r.reader+"/"+action, body))
	if a.Status >= 400 {
		return strings.TrimSpace(a.reason())
	}
	var answer struct{ Data json.RawMessage }
	if err := json.Unmarshal(a.Body, &answer); err != nil {
		r.h.t.Fatalf("%s is answered %d %s", action, a.Status, a.Body)
	}
	return string(answer.Data)
}

// sw sends commands and returns the status words of their answers.
func (r remote) sw(session string, commands ...string) string {
	r.h.t.Helper()
	text, _ := json.Marshal(api.RemoteCommands{Commands: commands, SessionID: session})
	said := r.post("commands", string(text))
	var answers []api.RemoteAnswer
	if json.Unmarshal([]byte(said), &answers) != nil {
		return said
	}
	var words []string
	for _, a := range answers {
		words = append(words, a.SW)
	}
	return strings.Join(words, " ")
}

// TestRemoteLoading has two users' programs use the cards in the readers of their own PC/SC services, with a back end at one of them: neither
// finds what the other has left on the card, and no user reaches the other's.
func TestRemoteLoading(t *testing.T) {
	h, alice, bob := newAttack(t)
	h.setPolicy("passthrough")
	h.start()
	programs := map[*stage.Person]remote{}
	for _, p := range []*stage.Person{alice, bob} {
		bed := h.newBed(p, p.Name+"-bed")
		h.insert(bed, 0)
		_, line := h.runAgent(p, "--pcsc-socket", bed.Socket())
		at := fmt.Sprintf("127.0.0.1:%d", line.Port)
		var list struct{ Data []api.CardReader }
		h.until("a card", func() bool {
			json.Unmarshal(h.ask(p, "tcp4", at, request("GET", at, "/v3/readers?cardInserted=true&excluded=hello", "")).Body, &list)
			return len(list.Data) == 1
		})
		programs[p] = remote{h, p, at, string(list.Data[0].ID)}
	}
	hers, his := programs[alice], programs[bob]
	says := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s is answered %s, want %s", what, got, want)
		}
	}
	const tries, pinOK = "00200080", "0020008008313233343536FFFF"

	says("bob at alice's agent", remote{h, bob, hers.at, hers.reader}.sw("", tries), "caller_refused other_user")
	h.auditTells(`"event":"caller_refused","reason":"caller_refused","rule":"other_user"`)
	says("bob with alice's reader at his", remote{h, bob, his.at, hers.reader}.sw("", tries), "reader_unknown")
	session := strings.Trim(hers.post("open-session", `{"timeout":60}`), `"`)
	says("alice", hers.sw(session, choosePIV, pinOK, tries), "612D 9000 9000")
	says("bob with alice's session", his.sw(session, tries), "session_unknown")
	says("alice in her session", hers.sw(session, tries), "9000")
	says("bob", his.sw("", choosePIV, tries), "612D 63C3")
	says("alice's end", hers.post("close-session", `{"sessionId":"`+session+`"}`), `"`+session+`"`)
	says("alice by herself", hers.sw("", choosePIV, tries), "612D 63C3")

	tunnel := h.tunnelBy(h.offerCard(alice).Ticket)
	says("the back end's PIN", h.transmit(tunnel, pinOK), "9000")
	says("alice beside the back end", hers.sw("", choosePIV, tries), "612D 63C3")
	says("the back end", h.transmit(tunnel, tries), "card_reset")
}
