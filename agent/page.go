// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

// firstMessage is how long a page may take to say over a WebSocket what it cannot say in a header.
const firstMessage = 5 * time.Second

// overSocket says whether a request for events is for a WebSocket, whose page shows its JWT in the first message.
func overSocket(r *http.Request) bool { return r.Header.Get("Upgrade") != "" }

// checkPage says whether a web page has shown the JWT that policy wants of it. A WebSocket's page does so later.
func (a *Agent) checkPage(r *http.Request, access httpserver.Access) error {
	origin := originOf(r)
	if access == httpserver.Public || !a.pages.Wants(origin) || r.Pattern == "GET /cb/v1/events" && overSocket(r) {
		return nil
	}
	authorization := r.Header.Values("Authorization")
	if len(authorization) != 1 {
		authorization = []string{""}
	}
	return a.pages.Check(origin, authorization[0])
}

// pageShows waits for the first message of a page's WebSocket, if its origin has to show a JWT. Nothing is sent before it is good.
func (a *Agent) pageShows(ctx context.Context, origin cardbroker.Origin, push *socket.Push) error {
	if !a.pages.Wants(origin) {
		return nil
	}
	text, err := push.First(ctx, firstMessage)
	if err != nil {
		return cardbroker.Refusef(cardbroker.Unauthenticated, cardbroker.RulePageJWT, "the first message has to be {\"authorization\":\"Bearer …\"}, within %v", firstMessage)
	}
	var first struct {
		Authorization string `json:"authorization"`
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if d.Decode(&first) != nil || d.More() {
		return cardbroker.Refusef(cardbroker.Unauthenticated, cardbroker.RulePageJWT, "the first message has to be {\"authorization\":\"Bearer …\"}")
	}
	return a.pages.Check(origin, first.Authorization)
}
