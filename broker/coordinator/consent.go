// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/httpserver"
)

const (
	consentLimit    = 65 * time.Second // the user has a minute
	validateTimeout = 5 * time.Second  // nobody is asked

	codeWordPrefix = "::t1c::miksa::"
	codeWordLength = 32

	maxConsents = 16   // that a page may bring; of more the last count
	maxConsent  = 4096 // bytes of each
)

// consent has the caller's own agent ask its user whether the page may use his cards. The broker relays: it decides nothing and
// keeps nothing.
func (c *Coordinator) consent(w http.ResponseWriter, r *http.Request) error {
	var wish api.ConsentRequest
	if err := httpserver.Decode(r, &wish); err != nil {
		return err
	}
	if err := checkCodeWord(wish.CodeWord); err != nil {
		return err
	}
	ask := api.Ask{Kind: api.AskConsent, Consents: presented(wish.Consents)}
	if days := wish.DurationInDays; days != nil {
		if ask.Days = *days; ask.Days < 1 {
			return cardbroker.Errorf(cardbroker.Invalid, "durationInDays is %d, want 1 or more", ask.Days)
		}
	}
	return c.relay(w, r, ask, consentLimit)
}

// validate has the caller's own agent say whether a consent of the page still counts, and where the agent is now.
func (c *Coordinator) validate(w http.ResponseWriter, r *http.Request) error {
	var wish api.ValidateRequest
	if err := httpserver.Decode(r, &wish); err != nil {
		return err
	}
	return c.relay(w, r, api.Ask{Kind: api.AskValidate, Consents: presented(wish.Consents)}, validateTimeout)
}

// relay asks the caller's own agent, for the page that asks, and answers with what it says.
func (c *Coordinator) relay(w http.ResponseWriter, r *http.Request, ask api.Ask, limit time.Duration) error {
	if ask.Origin = cardbroker.Origin(r.Header.Get("Origin")); ask.Origin == "" {
		return cardbroker.Errorf(cardbroker.Invalid, "only web pages need consent: there is no Origin")
	}
	agent, err := c.Resolve(httpserver.CallerOf(r.Context()))
	if err != nil {
		return err
	}
	answer, err := c.askAgent(r, agent, ask, limit)
	if err != nil {
		return err
	}
	if answer.State == nil {
		return cardbroker.Errorf(cardbroker.Unavailable, "the agent did not say what of the consent is")
	}
	if answer.State.Consents == nil { // clients keep what they have if there is no list
		answer.State.Consents = []string{}
	}
	return httpserver.Data(w, answer.State)
}

// askAgent asks an agent for the caller of r, who must still be there when it answers: the user may have taken his time.
func (c *Coordinator) askAgent(r *http.Request, agent cardbroker.Agent, ask api.Ask, limit time.Duration) (api.Answer, error) {
	ctx, cancel := context.WithTimeout(r.Context(), limit)
	defer cancel()
	answer, err := c.Hub.ask(ctx, agent.Route, ask)
	if err != nil {
		return answer, err
	}
	return answer, httpserver.StillThere(r.Context())
}

// t1cAgents lists the caller's own agents, that of his session first. A page needs the user's consent.
func (c *Coordinator) t1cAgents(w http.ResponseWriter, r *http.Request) error {
	caller := httpserver.CallerOf(r.Context())
	own, err := c.Resolve(caller)
	if err != nil {
		return err
	}
	days, err := c.consentDays(r, own)
	if err != nil {
		return err
	}
	agents := []api.T1CAgent{c.t1cAgent(own, days)}
	for _, agent := range c.cfg.Registry.View().ByUser(caller.User) {
		if agent.Key != own.Key && agent.State == cardbroker.Registered {
			agents = append(agents, c.t1cAgent(agent, days))
		}
	}
	return httpserver.Data(w, agents)
}

// consentDays has the caller's own agent say for how many days its user has consented to the page that asks. That is empty where none
// does, but a program; a page without consent is refused.
func (c *Coordinator) consentDays(r *http.Request, own cardbroker.Agent) (string, error) {
	origin := cardbroker.Origin(r.Header.Get("Origin"))
	if origin == "" {
		return "", nil
	}
	answer, err := c.askAgent(r, own, api.Ask{Kind: api.AskKnown, Origin: origin}, validateTimeout)
	return strconv.Itoa(answer.Days), err
}

func (c *Coordinator) t1cAgent(agent cardbroker.Agent, days string) api.T1CAgent {
	return api.T1CAgent{
		Username: UserName(agent.Key.User), APIIP: "127.0.0.1", APIPort: strconv.Itoa(int(agent.Port)), APIPID: strconv.Itoa(agent.PID),
		APILastUsed: agent.Since.UTC().Format(api.T1CTime), ValidityInDays: days, ConnectionState: "CONSENT", Hostname: c.cfg.HostName,
	}
}

// checkCodeWord checks the form of what clients make up by chance. It proves nothing: the kernel says whose page it is, and
// the user whether he wants it.
func checkCodeWord(word string) error {
	random, ok := strings.CutPrefix(word, codeWordPrefix)
	if !ok || len(random) != codeWordLength || strings.ContainsFunc(random, func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9')
	}) {
		return cardbroker.Errorf(cardbroker.Invalid, "codeWord: want %s and %d letters and digits", codeWordPrefix, codeWordLength)
	}
	return nil
}

// presented returns what is handed to the agent of the consents that a page brings: what may be base64 (RFC 4648 §4), of which JSON makes
// no more. Of other text JSON may make six times as much, which is over what fits into a message on the agent's link.
func presented(consents []string) []string {
	consents = slices.DeleteFunc(consents, func(c string) bool { return c == "" || len(c) > maxConsent || strings.ContainsFunc(c, notBase64) })
	return consents[max(0, len(consents)-maxConsents):]
}

func notBase64(c rune) bool {
	return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("+/=", c))
}
