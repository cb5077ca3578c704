// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/test/stage"
)

// The web pages of the demo: one that alice says yes to, and one that nobody asked about.
const (
	shop = "https://shop.example"
	evil = "https://evil.example"
)

// consentRequest is the body of /v3/consent. What looks like a proof in it, the code word, is none.
const consentRequest = `{"codeWord":"::t1c::miksa::abcdefghijklmnopqrstuvwxyz012345","durationInDays":30}`

// consented is what /v3/consent and /v3/validate answer.
type consented struct {
	Data struct {
		ConsentState string   `json:"consentState"`
		Consent      string   `json:"consent"`
		Consents     []string `json:"consents"`
	} `json:"data"`
}

// pagesAsk has web pages of both users ask for readers, without and with their user's consent.
func (st *story) pagesAsk() error {
	st.scene("A web page asks, and its user decides")
	alice := &st.Users[0]
	readers := fmt.Sprintf("http://127.0.0.1:%d/v3/readers", st.ports[0].Port)
	if err := st.pageRefused(alice, shop, readers, "without alice's consent the page gets no reader"); err != nil {
		return err
	}
	answer, err := st.askConsent(alice)
	if err != nil {
		return err
	}
	port, err := portOf(answer.Data.Consent)
	st.check(err == nil && answer.Data.ConsentState == "APPROVED" && port == fmt.Sprint(st.ports[0].Port),
		"alice says yes, and the page learns her agent's port", port)
	got, err := st.page(alice, shop, http.MethodGet, readers, "")
	if err != nil {
		return err
	}
	st.check(got.Status == http.StatusOK, "the page lists alice's readers", fmt.Sprint(got.Status))
	if err := st.pageRefused(alice, evil, readers, "another page does not"); err != nil {
		return err
	}
	if err := st.stolenConsent(answer); err != nil {
		return err
	}
	out, err := st.agent(alice, "consent", "revoke", shop)
	if err != nil || out.Status != 0 {
		return fmt.Errorf("agent consent revoke: %w %s", err, out.Stderr)
	}
	return st.pageRefused(alice, shop, readers, "alice takes it back, and the page is refused again")
}

// askConsent has a page ask for consent while alice is asked and says yes.
func (st *story) askConsent(alice *stage.Person) (answer consented, err error) {
	asked := make(chan error, 1)
	go func() {
		var got got
		got, err := st.page(alice, shop, http.MethodPost, "http://"+st.host.Listen[0]+"/v3/consent", consentRequest)
		if err == nil {
			err = json.Unmarshal(got.Body, &answer)
		}
		asked <- err
	}()
	out, err := st.agent(alice, "consent", "approve", shop)
	if err != nil || out.Status != 0 {
		return answer, fmt.Errorf("agent consent approve: %w %s", err, out.Stderr)
	}
	return answer, <-asked
}

// stolenConsent has bob's page show alice's consent.
func (st *story) stolenConsent(alices consented) error {
	if len(st.Users) < 2 {
		return nil
	}
	body, err := json.Marshal(map[string]any{"consents": alices.Data.Consents})
	if err != nil {
		return err
	}
	got, err := st.page(&st.Users[1], shop, http.MethodPost, "http://"+st.host.Listen[0]+"/v3/validate", string(body))
	if err != nil {
		return err
	}
	var answer consented
	json.Unmarshal(got.Body, &answer)
	st.check(answer.Data.ConsentState != "APPROVED", "bob gets nothing with alice's consent", fmt.Sprintf("%d %s", got.Status, answer.Data.ConsentState))
	return nil
}

// page asks as a web page in the user's browser does.
func (st *story) page(p *stage.Person, origin, method, url, body string) (answer got, err error) {
	out, err := st.Run(p, "actor", "page", origin, method, url, body)
	if err != nil || out.Status != 0 {
		return answer, fmt.Errorf("%s's page asked %s: %w %s", p.Name, url, err, out.Stdout)
	}
	return answer, json.Unmarshal(out.Stdout, &answer)
}

// pageRefused checks that a page is refused for want of consent.
func (st *story) pageRefused(p *stage.Person, origin, url, what string) error {
	got, err := st.page(p, origin, http.MethodGet, url, "")
	if err != nil {
		return err
	}
	var body api.ErrorBody
	json.Unmarshal(got.Body, &body)
	st.check(body.Reason == cardbroker.ConsentRequired, what, fmt.Sprintf("%d %s", got.Status, body.Reason))
	return nil
}

// portOf returns the agent's port in a consent, base64 of JSON.
func portOf(consent string) (string, error) {
	text, err := base64.StdEncoding.DecodeString(consent)
	if err != nil {
		return "", err
	}
	var said struct {
		Agent struct {
			APIPort string `json:"apiPort"`
		} `json:"agent"`
	}
	return said.Agent.APIPort, json.Unmarshal(text, &said)
}

// issueTokens enrols a tenant that has no identity provider: its API key brings tokens that live for minutes.
func (st *story) issueTokens() error {
	st.scene("A small site gets tokens from the broker")
	out, err := st.Run(nil, "cardbroker", "host", "token", "enrol", "small", "--socket", st.socket, "--json")
	if err != nil || out.Status != 0 {
		return fmt.Errorf("host token enrol: %w %s", err, out.Stderr)
	}
	var enrolled struct {
		Key string `json:"key"`
	}
	if err := json.Unmarshal(out.Stdout, &enrolled); err != nil {
		return err
	}
	if err := os.WriteFile(st.Path("small.key"), []byte(enrolled.Key+"\n"), 0o600); err != nil {
		return err
	}
	list := []string{"reader", "list", "--broker", st.host.Backend, "--ca", st.Path("door.pem"), "--api-key-file", st.Path("small.key"), "--json"}
	if out, err = st.Run(nil, "cardbroker", list...); err != nil {
		return err
	}
	st.check(out.Status == 0, "its back end exchanges the key for a token and is known", string(out.Stderr))
	if out, err = st.Run(nil, "cardbroker", "host", "token", "revoke", "small", "--socket", st.socket); err != nil || out.Status != 0 {
		return fmt.Errorf("host token revoke: %w %s", err, out.Stderr)
	}
	if out, err = st.Run(nil, "cardbroker", list...); err != nil {
		return err
	}
	st.check(out.Status == 3, "the key is revoked, and so is its back end", fmt.Sprintf("exit status %d", out.Status))
	return nil
}
