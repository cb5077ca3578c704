// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"os/user"
	"strconv"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/consent"
	"github.com/cardbroker/cardbroker/agent/gate"
	"github.com/cardbroker/cardbroker/agent/prompt"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/web"
)

// newConsents returns the book of consents of the agent's user.
func (a *Agent) newConsents() *consent.Book {
	cfg := consent.Config{
		Dir: a.home.Dir(), Session: a.cfg.Session, Policy: a.cfg.Policy.Consent,
		DeviceKey: a.keys.Thumbprint, Record: a.record, Log: a.cfg.Log,
	}
	cfg.Policy.Ended = a.demo.Ended
	if asker := prompt.NewConsent(a.cfg.Policy.Consent.Prompt, a.cfg.Log); asker != nil {
		cfg.Prompter = attendedConsent{asker, a.present.prompts}
	}
	return consent.New(cfg)
}

// withdraw takes back the tickets of web pages whose consent has ended, and ends their PIN and card sessions. Their tunnels end by
// themselves.
func (a *Agent) withdraw(ctx context.Context) error {
	for {
		select {
		case <-a.consents.Changed():
		case <-ctx.Done():
			return nil
		}
		ended := func(o cardbroker.Origin) bool { return !a.consents.Consented(o) }
		a.desk.withdraw(func(o offer) bool { return o.origin != "" && ended(o.origin) })
		a.pins.EndPages("the consent has ended", ended)
		a.remote.EndPages("the consent has ended", ended)
	}
}

// listConsents lists the user's consents, and who is waiting for one. A web page learns of its own only.
func (a *Agent) listConsents(w http.ResponseWriter, r *http.Request) error {
	page := a.foreignPage(r)
	answer := api.Consents{Consents: []api.Consent{}, Waiting: []api.ConsentWaiting{}}
	for _, c := range a.consents.List() {
		if page == "" || c.Origin == page {
			answer.Consents = append(answer.Consents, api.Consent(c))
		}
	}
	if page == "" {
		for _, q := range a.consents.Waiting() {
			answer.Waiting = append(answer.Waiting, api.ConsentWaiting{Origin: q.Origin, Days: q.Days, Deadline: q.Deadline.UTC()})
		}
		answer.Page = a.pageURL(r)
	}
	return httpserver.JSON(w, answer)
}

// foreignPage returns the origin of a web page that is not our own; empty: a program of the user asks, or our page.
func (a *Agent) foreignPage(r *http.Request) cardbroker.Origin {
	if origin := originOf(r); origin != "" && !httpserver.FromOwnPage(r) {
		return origin
	}
	return ""
}

// answerConsent takes the user's answer, from a program of his or our own page.
func (a *Agent) answerConsent(w http.ResponseWriter, r *http.Request) error {
	var said api.ConsentAnswer
	if err := httpserver.Decode(r, &said); err != nil {
		return err
	}
	origin, err := cardbroker.ParseOrigin(said.Origin)
	if err != nil {
		return err
	}
	switch {
	case said.Days < 0:
		return cardbroker.Errorf(cardbroker.Invalid, "days is %d, want 1 or more, or 0 for as long as policy allows", said.Days)
	case said.Answer == api.AnswerDeny:
		if err := a.consents.Refuse(r.Context(), origin); err != nil {
			return err
		}
	case said.Answer == api.AnswerApprove:
		if _, err := a.consents.Grant(r.Context(), consent.Question{Origin: origin, Days: said.Days}); err != nil {
			return err
		}
	default:
		return cardbroker.Errorf(cardbroker.Invalid, "answer is %q, want approve or deny", said.Answer)
	}
	return httpserver.JSON(w, struct{}{})
}

// revokeTimeout is how long a page waits until the end of its consent is stored. It holds in any case.
const revokeTimeout = 5 * time.Second

// revokeConsent ends a consent. A web page can end its own only.
func (a *Agent) revokeConsent(w http.ResponseWriter, r *http.Request) error {
	var said api.ConsentRevoke
	if err := httpserver.Decode(r, &said); err != nil {
		return err
	}
	origin, err := cardbroker.ParseOrigin(said.Origin)
	if err != nil {
		return err
	}
	if page := a.foreignPage(r); page != "" && page != origin {
		return cardbroker.Refusef(cardbroker.OriginDenied, cardbroker.RuleOwnPage, "a web page can revoke its own consent only")
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), revokeTimeout) // the request ends with the consent
	defer cancel()
	if err := a.consents.Revoke(ctx, origin); err != nil {
		return err
	}
	return httpserver.JSON(w, struct{}{})
}

// pageURL is where the user finds our page, as long as this agent lives.
func (a *Agent) pageURL(r *http.Request) string {
	port := strconv.Itoa(int(httpserver.CallerOf(r.Context()).Server.Port()))
	return "http://" + net.JoinHostPort(a.page, port) + "/consent"
}

// consentPage serves our page under its own name, and leads there who asks for it by another: what has been in a browser
// under our address before us is not to be mistaken for it.
func (a *Agent) consentPage(w http.ResponseWriter, r *http.Request) error {
	web.SetHeaders(w.Header(), web.Policy)
	if dest := r.Header.Get("Sec-Fetch-Dest"); dest != "" && dest != "document" {
		return cardbroker.Refusef(cardbroker.OriginDenied, cardbroker.RuleOwnPage, "the page is shown by itself only")
	}
	if url := a.pageURL(r); url != "http://"+r.Host+"/consent" {
		w.Header().Set("Location", url)
		w.WriteHeader(http.StatusSeeOther)
		return nil
	}
	page := web.Page{Session: a.cfg.Session}
	if registered := a.registration.Load(); registered != nil {
		page.Host = registered.Host
	}
	var text bytes.Buffer
	if err := web.Consent(&text, page); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	text.WriteTo(w) // an error is the connection's
	return nil
}

// consentFile serves what the page needs. There is nothing in it that is not in the source.
func (a *Agent) consentFile(w http.ResponseWriter, r *http.Request) error {
	content, mediaType, err := web.File(r.PathValue("file"))
	if err != nil {
		return err
	}
	web.SetHeaders(w.Header(), web.Policy)
	w.Header().Set("Content-Type", mediaType)
	w.Write(content) // an error is the connection's
	return nil
}

// answer answers what the broker asks for a web page of the agent's own user.
func (a *Agent) answer(ctx context.Context, ask api.Ask) api.Answer {
	answer, err := a.decide(ctx, ask)
	if err != nil {
		described := api.Describe(err)
		answer = api.Answer{Error: &described}
	}
	answer.ID = ask.ID
	return answer
}

// decide decides by the user and his book of consents alone: what the page brings is looked at for which of it to keep, and
// whether it is up to date.
func (a *Agent) decide(ctx context.Context, ask api.Ask) (api.Answer, error) {
	origin, err := cardbroker.ParseOrigin(string(ask.Origin))
	if err != nil {
		return api.Answer{}, err
	}
	registered := a.registration.Load()
	if registered == nil {
		return api.Answer{}, cardbroker.Errorf(cardbroker.Unavailable, "the agent is not registered")
	}
	state := &api.ConsentState{State: api.ConsentRequired, Consents: consent.Others(ask.Consents, registered.Host)}
	switch ask.Kind {
	case api.AskKnown:
		c, ok := a.consents.Current(origin)
		if !ok {
			return api.Answer{}, cardbroker.Refusef(cardbroker.ConsentRequired, cardbroker.RuleOriginUnconsented, "the user has not consented to this origin")
		}
		return api.Answer{Days: consent.DaysLeft(c)}, nil
	case api.AskConsent:
		c, err := a.consents.Ask(ctx, consent.Question{Origin: origin, Days: ask.Days})
		if err != nil {
			return api.Answer{}, err
		}
		a.approve(state, c, registered)
	case api.AskValidate:
		if c, ok := a.consents.Current(origin); ok && a.sealer().FitsAny(ask.Consents, c) {
			a.approve(state, c, registered)
		}
	default:
		return api.Answer{}, cardbroker.Errorf(cardbroker.Unsupported, "this agent does not know the question")
	}
	return api.Answer{State: state}, nil
}

// approve has the state say that there is a consent, and where the agent is.
func (a *Agent) approve(state *api.ConsentState, c cardbroker.Consent, registered *api.Registered) {
	where := api.T1CAgent{APIPort: strconv.Itoa(int(registered.Port)), APIPID: strconv.Itoa(os.Getpid()), Hostname: registered.Host}
	if u, err := user.LookupId(a.self.String()); err == nil {
		where.Username = u.Username
	}
	state.State, state.Consent = api.ConsentApproved, a.sealer().Seal(c, where)
	state.Consents = append(state.Consents, state.Consent)
}

func (a *Agent) sealer() consent.Sealer { return consent.Sealer{User: a.self, Secret: a.secret} }

// attendedConsent is a prompt for consent that is shown only while the user is there to see it.
type attendedConsent struct {
	consent.Prompter
	prompts *gate.Gate
}

// AskConsent implements [consent.Prompter].
func (a attendedConsent) AskConsent(ctx context.Context, q consent.Question) (bool, error) {
	return gate.Ask(ctx, a.prompts, func(ctx context.Context) (bool, error) { return a.Prompter.AskConsent(ctx, q) })
}
