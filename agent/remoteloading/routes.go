// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package remoteloading

import (
	"net/http"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/httpserver"
)

// maxInput is the most that a function of a reader is given, in bytes.
const maxInput = 1024

// limit is how long a request may take: a wait for the reader, a call, and an answer.
const limit = callLimit + 15*time.Second

// Routes are the ten calls.
func (l *Loader) Routes() []httpserver.Route {
	return []httpserver.Route{
		{Method: "POST", Path: "/v3/modules/remoteloading/apps/hsm/readers/{id}/apdu", Access: httpserver.Self, Handle: l.postAPDU, Limit: limit},
		{Method: "POST", Path: "/v3/modules/remoteloading/apps/hsm/readers/{id}/apdus", Access: httpserver.Self, Handle: l.postAPDUs, Limit: limit},
		{Method: "POST", Path: "/v3/modules/remoteloading/apps/hsm/readers/{id}/atr", Access: httpserver.Self, Handle: l.postATR},
		{Method: "POST", Path: "/v3/modules/remoteloading/apps/hsm/readers/{id}/card-present", Access: httpserver.Self, Handle: l.postPresent},
		{Method: "POST", Path: "/v3/modules/remoteloading/apps/hsm/readers/{id}/ccid", Access: httpserver.Self, Handle: l.postCCID, Limit: limit},
		{Method: "POST", Path: "/v3/modules/remoteloading/apps/hsm/readers/{id}/ccid-features", Access: httpserver.Self, Handle: l.postFeatures, Limit: limit},
		{Method: "POST", Path: "/v3/modules/remoteloading/apps/hsm/readers/{id}/close-session", Access: httpserver.Self, Handle: l.postClose},
		{Method: "POST", Path: "/v3/modules/remoteloading/apps/hsm/readers/{id}/command", Access: httpserver.Self, Handle: l.postCommand, Limit: limit},
		{Method: "POST", Path: "/v3/modules/remoteloading/apps/hsm/readers/{id}/commands", Access: httpserver.Self, Handle: l.postCommands, Limit: limit},
		{Method: "POST", Path: "/v3/modules/remoteloading/apps/hsm/readers/{id}/open-session", Access: httpserver.Self, Handle: l.postOpen, Limit: limit},
	}
}

// decode reads a body, of which all may be missing.
func decode(r *http.Request, wish any) error {
	if r.ContentLength == 0 {
		return nil
	}
	return httpserver.Decode(r, wish)
}

// callOf says who asks for which reader, which it finds by its id.
func (l *Loader) callOf(r *http.Request, session string) (*call, error) {
	reader, err := l.cfg.Find(r.Context(), cardbroker.ReaderID(r.PathValue("id")))
	if err != nil {
		return nil, err
	}
	c := &call{reader: reader, origin: cardbroker.Origin(r.Header.Get("Origin")), still: func() error { return httpserver.StillThere(r.Context()) }}
	if session != "" {
		c.session = cardbroker.NewSecret([]byte(session))
	}
	return c, nil
}

func (l *Loader) postOpen(w http.ResponseWriter, r *http.Request) error {
	var wish api.OpenRemote
	if err := decode(r, &wish); err != nil {
		return err
	}
	timeout := defaultTimeout
	if wish.Timeout != nil {
		if n := *wish.Timeout; n < 1 || n > int(maxTimeout/time.Second) {
			return cardbroker.Errorf(cardbroker.Invalid, "timeout: %d, want 1 to %d seconds", n, maxTimeout/time.Second)
		}
		timeout = time.Duration(*wish.Timeout) * time.Second
	}
	c, err := l.callOf(r, "")
	if err != nil {
		return err
	}
	ctx, leave, err := l.cfg.Enter(r.Context())
	if err != nil {
		return err
	}
	defer leave()
	id, err := l.open(ctx, c, timeout)
	if err != nil {
		return err
	}
	return httpserver.Data(w, string(id.Reveal()))
}

// postClose ends a session; without one there is nothing to end, and all is as it was.
func (l *Loader) postClose(w http.ResponseWriter, r *http.Request) error {
	return l.short(w, r, func(c *call) (any, error) {
		if c.session.Empty() {
			return "", nil
		}
		return string(c.session.Reveal()), l.close(r.Context(), c)
	})
}

// postPresent says whether there is a card. A session whose card has gone is no error here.
func (l *Loader) postPresent(w http.ResponseWriter, r *http.Request) error {
	return l.short(w, r, func(c *call) (any, error) {
		if c.session.Empty() {
			return c.reader.Card != nil, nil
		}
		_, err := l.look(r.Context(), c)
		if cardbroker.ReasonOf(err) == cardbroker.CardRemoved {
			return false, nil
		}
		return c.reader.Card != nil, err
	})
}

func (l *Loader) postATR(w http.ResponseWriter, r *http.Request) error {
	return l.short(w, r, func(c *call) (any, error) {
		if !c.session.Empty() {
			card, err := l.look(r.Context(), c)
			return upper(card.ATR), err
		}
		if c.reader.Card == nil {
			return nil, cardbroker.Errorf(cardbroker.CardAbsent, "there is no card in the reader: put one in")
		}
		return upper(c.reader.Card.ATR), nil
	})
}

func (l *Loader) postFeatures(w http.ResponseWriter, r *http.Request) error {
	return l.short(w, r, func(c *call) (any, error) { return l.ccidFeatures(r.Context(), c) })
}

// short serves a call that says nothing but which session it is for.
func (l *Loader) short(w http.ResponseWriter, r *http.Request, answer func(*call) (any, error)) error {
	var wish api.RemoteSession
	if err := decode(r, &wish); err != nil {
		return err
	}
	c, err := l.callOf(r, wish.SessionID)
	if err != nil {
		return err
	}
	data, err := answer(c)
	if err != nil {
		return err
	}
	return httpserver.Data(w, data)
}

func (l *Loader) postCCID(w http.ResponseWriter, r *http.Request) error {
	var wish struct {
		Feature   string `json:"feature"`
		Command   digits `json:"command"`
		SessionID string `json:"sessionId"`
	}
	if err := httpserver.Decode(r, &wish); err != nil {
		return err
	}
	c, err := l.callOf(r, wish.SessionID)
	if err != nil {
		return err
	}
	input, err := wish.Command.take("command", 0, maxInput)
	if err != nil {
		return err
	}
	answer, err := l.ccid(r.Context(), c, wish.Feature, input)
	if err != nil {
		return err
	}
	return httpserver.Data(w, answer)
}

func (l *Loader) postCommand(w http.ResponseWriter, r *http.Request) error {
	var wish struct {
		Command   digits `json:"command"`
		SessionID string `json:"sessionId"`
	}
	if err := httpserver.Decode(r, &wish); err != nil {
		return err
	}
	q := list{field: "command", one: true}
	if err := q.add(&wish.Command); err != nil {
		return err
	}
	return l.send(w, r, wish.SessionID, q)
}

func (l *Loader) postCommands(w http.ResponseWriter, r *http.Request) error {
	var wish struct {
		Commands  []digits `json:"commands"`
		SessionID string   `json:"sessionId"`
	}
	if err := httpserver.Decode(r, &wish); err != nil {
		return err
	}
	q := list{field: "commands"}
	defer q.wipe()
	for i := range wish.Commands {
		if err := q.add(&wish.Commands[i]); err != nil {
			return err
		}
	}
	return l.send(w, r, wish.SessionID, q)
}

func (l *Loader) postAPDU(w http.ResponseWriter, r *http.Request) error {
	var wish struct {
		APDU      parts  `json:"apdu"`
		SessionID string `json:"sessionId"`
	}
	if err := httpserver.Decode(r, &wish); err != nil {
		return err
	}
	command, err := wish.APDU.command()
	if err != nil {
		return placed(err, "apdu")
	}
	return l.send(w, r, wish.SessionID, list{field: "apdu", one: true, commands: [][]byte{command}})
}

func (l *Loader) postAPDUs(w http.ResponseWriter, r *http.Request) error {
	var wish struct {
		APDUs     []parts `json:"apdus"`
		SessionID string  `json:"sessionId"`
	}
	if err := httpserver.Decode(r, &wish); err != nil {
		return err
	}
	q := list{field: "apdus"}
	defer q.wipe()
	for i := range wish.APDUs {
		command, err := wish.APDUs[i].command()
		if err != nil {
			return placed(err, q.at(i))
		}
		q.commands = append(q.commands, command)
	}
	return l.send(w, r, wish.SessionID, q)
}

// send sends commands, and answers with what was answered.
func (l *Loader) send(w http.ResponseWriter, r *http.Request, session string, q list) error {
	defer q.wipe()
	c, err := l.callOf(r, session)
	if err != nil {
		return err
	}
	answers, err := l.run(r.Context(), c, &q)
	if err != nil {
		return err
	}
	if q.one {
		return httpserver.Data(w, answers[0])
	}
	return httpserver.Data(w, answers)
}
