// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/test/stage"
)

// offer has alice offer her first reader to the demo's tenant.
func (st *story) offer() (api.Offered, error) { return st.offerTo(tenant) }

// offerTo has alice offer her first reader to a tenant.
func (st *story) offerTo(to string) (api.Offered, error) {
	var offered api.Offered
	alice := &st.Users[0]
	out, err := st.agent(alice, "readers")
	if err != nil || out.Status != 0 {
		return offered, fmt.Errorf("agent readers: %w %s", err, out.Stderr)
	}
	var list struct{ Readers []api.CardReader }
	if err := json.Unmarshal(out.Stdout, &list); err != nil || len(list.Readers) == 0 {
		return offered, fmt.Errorf("alice has no reader: %s", out.Stdout)
	}
	out, err = st.agent(alice, "offer", string(list.Readers[0].ID), to)
	if err != nil || out.Status != 0 {
		return offered, fmt.Errorf("agent offer: %w %s", err, out.Stderr)
	}
	return offered, json.Unmarshal(out.Stdout, &offered)
}

// agent asks a user's agent, as that user.
func (st *story) agent(p *stage.Person, args ...string) (stage.Outcome, error) {
	return st.Run(p, "cardbroker", slices.Concat([]string{"agent"}, args, []string{"--socket", st.socket, "--state", p.Home + "/state", "--json"})...)
}

// asks has a page of the user's ask his agent, or a program, and decodes what it is told if that is good, and v not nil.
func (st *story) asks(p *stage.Person, origin, method, path string, body, v any) (said got, err error) {
	var text []byte
	if body != nil {
		if text, err = json.Marshal(body); err != nil {
			return said, err
		}
	}
	i := slices.IndexFunc(st.Users, func(u stage.Person) bool { return u.Name == p.Name })
	said, err = st.page(p, origin, method, fmt.Sprintf("http://127.0.0.1:%d%s", st.ports[i].Port, path), string(text))
	if err != nil || said.Status != http.StatusOK || v == nil {
		return said, err
	}
	var envelope struct{ Data json.RawMessage }
	json.Unmarshal(said.Body, &envelope)
	if envelope.Data == nil {
		envelope.Data = said.Body
	}
	return said, json.Unmarshal(envelope.Data, v)
}

// reasonOf is why somebody was refused; empty: he was not.
func reasonOf(said got) cardbroker.Reason {
	var body api.ErrorBody
	json.Unmarshal(said.Body, &body)
	return body.Reason
}

// door returns the flags of a back end's commands.
func (st *story) door(tenant, ticket string) []string {
	flags := []string{"--broker", st.host.Backend, "--ca", st.Path("door.pem"), "--token-file", st.Path(tenant + ".token")}
	if ticket != "" {
		flags = append(flags, "--ticket", ticket)
	}
	return flags
}

// reader runs a command of a back end, as the given tenant.
func (st *story) reader(tenant, ticket string, args ...string) (stage.Outcome, error) {
	return st.Run(nil, "cardbroker", slices.Concat([]string{"reader"}, args, st.door(tenant, ticket), []string{"--json"})...)
}

// refused checks that a command was refused by the given rule.
func (st *story) refused(out stage.Outcome, rule cardbroker.Rule, what string) {
	var body api.ErrorBody
	json.Unmarshal(out.Stderr, &body)
	st.check(out.Status == 3 && body.Rule == rule, what, fmt.Sprintf("exit status %d, rule %s", out.Status, body.Rule))
}

// sessions asks the broker for its table.
func (st *story) sessions() ([]api.Session, error) {
	out, err := st.Run(nil, "cardbroker", "host", "sessions", "--socket", st.socket, "--json")
	if err != nil || out.Status != 0 {
		return nil, fmt.Errorf("host sessions: %w %s", err, out.Stderr)
	}
	var answer api.Sessions
	return answer.Sessions, json.Unmarshal(out.Stdout, &answer)
}

// sessionsWhen asks until all agents of the users are as wanted, for 40 seconds at most.
func (st *story) sessionsWhen(wanted func(api.Session) bool) ([]api.Session, error) {
	deadline := time.Now().Add(40 * time.Second)
	for {
		sessions, err := st.sessions()
		if err != nil {
			return nil, err
		}
		n := 0
		for _, s := range sessions {
			if s.Session != guestSession && wanted(s) {
				n++
			}
		}
		if n >= len(st.Users) || time.Now().After(deadline) {
			return sessions, nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-st.Context().Done():
			return nil, st.Context().Err()
		}
	}
}

// getAs asks url as the user.
func (st *story) getAs(p *stage.Person, url string) (got, error) {
	answer, release, err := st.holdAs(p, url)
	if err == nil {
		release()
	}
	return answer, err
}

// holdAs asks url as the user and keeps his connection open until release is called.
func (st *story) holdAs(p *stage.Person, url string) (answer got, release func(), err error) {
	cmd := st.Command(p, "actor", "get", url)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return answer, nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return answer, nil, err
	}
	if err := cmd.Start(); err != nil {
		return answer, nil, err
	}
	release = func() {
		stdin.Close()
		cmd.Wait()
	}
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &answer)
	}
	if err != nil {
		release()
		return answer, nil, fmt.Errorf("%s asked %s: %w", p.Name, url, err)
	}
	return answer, release, nil
}

func cardOf(list api.RemoteReaders) string {
	if len(list.Readers) == 0 || list.Readers[0].Card == nil {
		return "none"
	}
	atr, _ := hex.DecodeString(list.Readers[0].Card.ATR)
	return fmt.Sprintf("ATR % X", atr)
}
