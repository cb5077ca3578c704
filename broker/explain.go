// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"errors"
	"net/http"
	"net/netip"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/broker/coordinator"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/peer"
)

// keptRefusals is how many refusals `cardbroker host explain` can look back on.
const keptRefusals = 256

// ruleSameUser is what an explanation says of a caller that was not refused.
const ruleSameUser cardbroker.Rule = "same_user"

// refusal is a caller that was turned away, by the broker or by an agent.
type refusal struct {
	client, server netip.AddrPort
	explanation    api.Explanation
}

// newRefusal describes a refusal of the broker's own.
func newRefusal(caller peer.Caller, err error) refusal {
	r := refusal{client: caller.Client, server: caller.Server}
	r.explanation = explainError(err)
	if caller.Inode != 0 || caller.PID != 0 { // the kernel named him
		r.explanation.UID = api.UID(caller.User)
	}
	return r
}

// agentRefusal describes what an agent says that it refused. Agents speak for their own port only.
func agentRefusal(agent cardbroker.Agent, m api.CallerRefused) refusal {
	client, _ := netip.ParseAddrPort(m.Client)
	server, _ := netip.ParseAddrPort(m.Server)
	server = netip.AddrPortFrom(server.Addr(), uint16(agent.Port))
	said := api.Explanation{Rule: cardbroker.Rule(coordinator.Clip(string(m.Rule))), UID: m.UID, Detail: coordinator.Clip(m.Detail)}
	return refusal{client: client, server: server, explanation: said}
}

// refused keeps a refusal; the oldest goes. While the hub is overloaded it is lost: it is for people only.
func (s *switchboard) refused(r refusal) {
	s.Do(context.Background(), func(*coordinator.Links) error {
		if len(s.refusals) == keptRefusals {
			s.refusals = append(s.refusals[:0], s.refusals[1:]...)
		}
		s.refusals = append(s.refusals, r)
		return nil
	})
}

// explain says who is behind the connection of ?client=ADDR:PORT, to ?server=ADDR:PORT or to the broker itself, and which
// rule decides: by the kernel while the connection is open, else by the refusals that were kept.
func (b *Broker) explain(w http.ResponseWriter, r *http.Request) error {
	client, err := netip.ParseAddrPort(r.URL.Query().Get("client"))
	if err != nil {
		return cardbroker.Errorf(cardbroker.Invalid, "client: want ADDRESS:PORT, such as 127.0.0.1:40000")
	}
	server, err := b.explainedServer(client, r.URL.Query().Get("server"))
	if err != nil {
		return err
	}
	caller, err := b.kernel.Lookup(client, server)
	if err == nil {
		return httpserver.JSON(w, b.explainCaller(caller))
	}
	var kept *refusal
	if failed := b.board.Do(r.Context(), func(*coordinator.Links) error { kept = b.board.lastRefusal(client, server); return nil }); failed != nil {
		return failed
	}
	if kept != nil {
		return httpserver.JSON(w, kept.explanation)
	}
	return httpserver.JSON(w, explainError(err))
}

// explainedServer parses the server's end; empty means the broker's own, in the client's address family.
func (b *Broker) explainedServer(client netip.AddrPort, server string) (netip.AddrPort, error) {
	if server != "" {
		end, err := netip.ParseAddrPort(server)
		if err != nil {
			return end, cardbroker.Errorf(cardbroker.Invalid, "server: want ADDRESS:PORT, such as 127.0.0.1:51983")
		}
		return end, nil
	}
	for _, listener := range b.cfg.Listen {
		if own := netip.MustParseAddrPort(listener.Addr().String()); own.Addr().Is4() == client.Addr().Is4() {
			return own, nil
		}
	}
	return netip.AddrPort{}, cardbroker.Errorf(cardbroker.Unavailable, "the broker does not listen on addresses such as %s", client.Addr())
}

// explainCaller applies to an open connection the rules that its server would.
func (b *Broker) explainCaller(caller peer.Caller) api.Explanation {
	agent, toAgent := b.registry.View().ByPort(cardbroker.Port(caller.Server.Port()))
	var err error
	switch {
	case toAgent && agent.Key.User != caller.User:
		err = cardbroker.Refusef(cardbroker.CallerRefused, cardbroker.RuleOtherUser,
			"the caller is %s, the agent is %s's", coordinator.UserName(caller.User), coordinator.UserName(agent.Key.User))
	case !toAgent:
		agent, err = b.core.Resolve(caller)
	}
	e := api.Explanation{Allowed: true, Rule: ruleSameUser, Detail: "the caller is " + coordinator.UserName(caller.User)}
	if err != nil {
		e = explainError(err)
	}
	e.UID = api.UID(caller.User)
	if caller.PID != 0 {
		e.PID = &caller.PID
	}
	if err == nil {
		e.Session = &agent.Key.Session
	}
	return e
}

// explainError turns a refusal into an explanation.
func explainError(err error) api.Explanation {
	e := api.Explanation{Rule: cardbroker.RuleOf(err), Detail: api.Describe(err).Description}
	if e.Rule == "" {
		e.Rule = cardbroker.Rule(cardbroker.ReasonOf(err))
	}
	if refused, ok := errors.AsType[*cardbroker.Error](err); ok && refused.Err != nil {
		e.Detail += ": " + refused.Err.Error() // an administrator asks
	}
	return e
}

// lastRefusal returns the newest refusal of a connection from client to server.
func (s *switchboard) lastRefusal(client, server netip.AddrPort) *refusal {
	for i := len(s.refusals) - 1; i >= 0; i-- {
		if r := s.refusals[i]; r.client == client && r.server == server {
			return &r
		}
	}
	return nil
}
