// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
)

// insertedReader is the reader with alice's card, as a page sees it that she has consented to.
func (st *story) insertedReader() (id string, err error) {
	var readers []api.CardReader
	if _, err = st.asks(&st.Users[0], shop, http.MethodGet, "/v3/readers?cardInserted=true", nil, &readers); err == nil && len(readers) == 0 {
		err = errors.New("alice has no card")
	}
	if err != nil {
		return "", err
	}
	return string(readers[0].ID), nil
}

// remoteLoading has a page send commands to alice's card: in a session that is its own, and without one.
func (st *story) remoteLoading() error {
	st.scene("A web page sends commands to alice's card: remote loading")
	alice := &st.Users[0]
	reader, err := st.insertedReader()
	if err != nil {
		return err
	}
	var problem error
	call := func(origin, name string, body map[string]any, v any) got {
		said, err := st.asks(alice, origin, http.MethodPost, "/v3/modules/remoteloading/apps/hsm/readers/"+reader+"/"+name, body, v)
		if err != nil {
			problem = err
		}
		return said
	}
	var id string
	said := call(shop, "open-session", map[string]any{"timeout": 30}, &id)
	st.check(id != "", "the page opens a session, and the card is its own", fmt.Sprint(said.Status))
	var answer api.RemoteAnswer
	call(shop, "command", map[string]any{"sessionId": id, "command": selectPIV}, &answer)
	st.check(answer.SW == "9000", "SELECT PIV", fmt.Sprintf("%d bytes, %s", len(answer.RX)/2, answer.SW))
	var answers []api.RemoteAnswer
	call(shop, "commands", map[string]any{"sessionId": id, "commands": []string{getCHUID, getCert9E}}, &answers)
	st.check(len(answers) == 2 && answers[0].SW == "9000" && answers[1].SW == "9000", "two commands in one request: the application is still selected", fmt.Sprintf("%d answers", len(answers)))
	said = call(program, "command", map[string]any{"sessionId": id, "command": getCHUID}, nil)
	st.check(reasonOf(said) == cardbroker.SessionUnknown, "a program with the page's session id gets nothing", fmt.Sprintf("%d %s", said.Status, reasonOf(said)))
	call(shop, "close-session", map[string]any{"sessionId": id}, nil)
	said = call(shop, "command", map[string]any{"sessionId": id, "command": getCHUID}, nil)
	st.check(reasonOf(said) == cardbroker.SessionUnknown, "the page closes it, and it is over", fmt.Sprintf("%d %s", said.Status, reasonOf(said)))
	call(shop, "command", map[string]any{"command": getCHUID}, &answer)
	st.check(answer.SW != "" && answer.SW != "9000", "the card was reset: nothing is selected any more", answer.SW)
	return problem
}
