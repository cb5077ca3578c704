// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"net/http"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/notice"
	"github.com/cardbroker/cardbroker/agent/pin"
	"github.com/cardbroker/cardbroker/agent/pki"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

// pinConfig joins the keeper of PINs to the rest of the agent.
func (a *Agent) pinConfig() pin.Config {
	cfg := pin.Config{
		Keys:     a.keys,
		Notice:   a.enterAtReader,
		Policy:   a.cfg.Policy.PIN,
		Held:     a.held,
		Free:     a.sole,
		Attended: a.present.attends,
		Present:  a.cards.Present,
		Watch:    a.cards.Watch,
		Record:   a.record,
	}
	if a.asker != nil {
		cfg.Ask = a.askPIN
	}
	return cfg
}

// pkiConfig joins the tokens of PKCS#11 modules to the rest of the agent.
func (a *Agent) pkiConfig() pki.Config {
	return pki.Config{
		Modules:  a.cfg.Policy.Modules,
		Tokens:   a.tokens,
		Process:  a.process,
		Cache:    a.kept,
		Excludes: len(a.cfg.Policy.Exclude) > 0,
		Readers:  a.cards.Readers,
		Away:     a.present.uses.Closed,
		Free:     a.sole,
		Lend:     func(ctx context.Context, reader string) (pki.Loan, error) { return a.cards.Lend(ctx, reader) },
		Present:  a.cards.Present,
		Secret:   a.secret,
		PINs:     a.pins,
		Record:   a.record,
	}
}

// process returns how the process of a module fares.
func (a *Agent) process(module string) pki.Process {
	for _, s := range a.tokens.Modules() {
		if s.Name == module {
			return pki.Process{Runs: s.PID != 0, Mute: s.Mute, Ended: s.LastExit}
		}
	}
	return pki.Process{}
}

// askPIN asks the user for the PIN that a page or program of his wants.
func (a *Agent) askPIN(ctx context.Context, q pin.Question) ([]cardbroker.Secret, error) {
	question := cardend.Question{
		Action: cardend.ActionVerify, Origin: q.Origin, Reader: q.Reader, Which: q.Which, Ask: []cardend.Part{cardend.PartPIN},
		Min: q.Shape.Min, Max: q.Shape.Max, Digits: q.Shape.Digits,
	}
	switch {
	case q.Few:
		question.Problem, question.Tries = cardend.ProblemFew, q.Tries
	case q.Wrong:
		question.Problem, question.Tries = cardend.ProblemWrong, q.Tries
	}
	switch q.Act {
	case pin.Change:
		question.Action, question.Ask = cardend.ActionModify, []cardend.Part{cardend.PartPIN, cardend.PartNew}
	case pin.Unblock:
		question.Action, question.Ask = cardend.ActionUnblock, []cardend.Part{cardend.PartPUK, cardend.PartNew}
	}
	return a.asker.AskPIN(ctx, question)
}

// enterAtReader tells the user that he is to enter a PIN at a reader, until end is called; while his screen is locked or he is away it is
// PINCanceled.
func (a *Agent) enterAtReader(ctx context.Context, q pin.Question) (end func(), err error) {
	_, leave, err := a.present.prompts.Enter(ctx)
	if err != nil {
		return nil, err
	}
	over := a.entries.Begin(notice.Entry{Origin: q.Origin, Reader: q.Reader, Which: q.Which})
	return func() { over(); leave() }, nil
}

// keyWait is how long the device key is waited for: within a request's time, and longer than it takes to make.
const keyWait = 8 * time.Second

// deviceKey answers with the key that existing clients encrypt PINs with. It waits for the key while it is made:
// existing clients ask once, and send all PINs in clear if they get none.
func (a *Agent) deviceKey(w http.ResponseWriter, r *http.Request) error {
	key, err := a.awaitKey(w, r)
	if err != nil {
		return err
	}
	return httpserver.Data(w, key.PEM)
}

func (a *Agent) deviceKeys(w http.ResponseWriter, r *http.Request) error {
	key, err := a.awaitKey(w, r)
	if err != nil {
		return err
	}
	return httpserver.JSON(w, api.DeviceKeys{Keys: key.Keys, Thumbprint: key.Thumbprint})
}

// awaitKey returns the key, for which it waits while it is made. Errors: Unavailable.
func (a *Agent) awaitKey(w http.ResponseWriter, r *http.Request) (api.DeviceKey, error) {
	ctx, cancel := context.WithTimeout(r.Context(), keyWait)
	defer cancel()
	select {
	case <-a.keys.Ready():
	case <-ctx.Done():
	}
	key, err := a.keys.Public()
	if err != nil {
		w.Header().Set("Retry-After", "1")
	}
	return key, err
}

// tellDeviceKey tells the broker of the key that is made now.
func (a *Agent) tellDeviceKey(conn *socket.Conn) error {
	key, err := a.keys.Public()
	if err != nil {
		return err
	}
	return conn.WriteJSON(api.FromAgent{DeviceKey: &key})
}

// pinChallenge gives a page the nonce for one PIN.
func (a *Agent) pinChallenge(w http.ResponseWriter, r *http.Request) error {
	challenge, err := a.pins.Challenge(r.Context(), pageOf(r))
	if err != nil {
		return err
	}
	return httpserver.JSON(w, challenge)
}

// verifyPIN has a card compare a PIN.
func (a *Agent) verifyPIN(w http.ResponseWriter, r *http.Request) error {
	var wish pin.VerifyWish
	defer wish.PIN.Wipe()
	if err := httpserver.Decode(r, &wish); err != nil {
		return err
	}
	command, err := wish.Command()
	if err != nil {
		return err
	}
	if why := a.present.uses.Closed(); why != nil {
		return why
	}
	id := cardbroker.ReaderID(r.PathValue("id"))
	reader, err := a.readers.Find(r.Context(), id)
	if err != nil {
		return err
	}
	err = a.pins.Enter(r.Context(), pin.Wish{
		Reader: reader.Name, ID: id, Origin: pageOf(r), Use: command.Use(), Which: command.Which(), Shape: command.Shape(),
		PIN: wish.PIN, Dialog: wish.Dialog, Pad: reader.PINPad,
		Open: func(ctx context.Context) (pin.Target, cardbroker.Card, error) {
			card, err := a.cards.Turn(ctx, reader.Name)
			if err != nil {
				return nil, cardbroker.Card{}, err
			}
			target, err := pin.OnCard(ctx, card, command)
			return target, card.Info(), err
		},
		Still: func() error { return httpserver.StillThere(r.Context()) },
	})
	if err != nil {
		return err
	}
	return httpserver.JSON(w, api.PINVerified{Verified: true})
}

// pageOf returns the page that asks; "" for a program. The server has checked it.
func pageOf(r *http.Request) cardbroker.Origin { return cardbroker.Origin(r.Header.Get("Origin")) }
