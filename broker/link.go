// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/time/rate"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/broker/dialout"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/peer"
	"github.com/cardbroker/cardbroker/virtualreader/relay"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

// leg is one side of a tunnel.
type leg = relay.Leg

// registerTimeout is how long a new link may take to say Register.
const registerTimeout = 10 * time.Second

// How often one agent may say what it offers, or whom it has refused: each time lists and subscribers are told.
const (
	newsPerSecond = 100
	newsBurst     = 200
)

// openLink upgrades an agent's link and leaves it to a goroutine of its own.
func (b *Broker) openLink(w http.ResponseWriter, r *http.Request) error {
	if err := b.links.Check(r); err != nil {
		return err
	}
	conn, err := b.links.Upgrade(w, r)
	if err != nil {
		return nil // it has answered
	}
	caller := httpserver.CallerOf(r.Context())
	b.conns.Go("link", func(ctx context.Context) error {
		defer conn.Close()
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		defer stop()
		b.serveLink(ctx, conn, caller)
		return nil
	})
	return nil
}

// serveLink registers an agent and listens to it until its link ends, which is its end.
func (b *Broker) serveLink(ctx context.Context, conn *socket.Conn, caller peer.Caller) {
	agent, err := b.register(ctx, conn, caller)
	if err != nil {
		b.cfg.Log.Info("registration refused", "user", caller.User.String(), "reason", cardbroker.ReasonOf(err), "err", err)
		failed := api.Describe(err)
		conn.WriteJSON(api.FromBroker{Failed: &failed})
		conn.Shutdown(err)
		return
	}
	log := b.cfg.Log.With("user", agent.Key.User.String(), "session", agent.Key.Session, "port", agent.Port)
	err = b.holdLink(ctx, conn, agent)
	if ctx.Err() != nil {
		return // the broker ends, not the agent: its entry stays as it is
	}
	log.Info("agent's link ended", "err", err)
	b.record(&agent.Key, cardbroker.Event{Name: cardbroker.EventAgentLeft, Detail: fmt.Sprintf("port %d", agent.Port)})
	if err := b.registry.Detach(ctx, agent); err != nil {
		log.Error("cannot mark the agent stale", "err", err)
	}
}

// register reads the agent's first message, asks the kernel whether the agent really listens, and enters it. Whoever
// gets an agent from it calls Detach in the end.
func (b *Broker) register(ctx context.Context, conn *socket.Conn, caller peer.Caller) (cardbroker.Agent, error) {
	late := time.AfterFunc(registerTimeout, func() { conn.Close() })
	var message api.FromAgent
	err := conn.NextJSON(&message)
	late.Stop()
	if err != nil {
		return cardbroker.Agent{}, err
	}
	if message.Register == nil {
		return cardbroker.Agent{}, cardbroker.Errorf(cardbroker.Invalid, "a link begins with register")
	}
	claim, err := checkClaim(caller, message.Register.Claim)
	if err != nil {
		return cardbroker.Agent{}, err
	}
	if entry, ok := b.registry.View().ByKey(claim.Key); ok {
		if err := b.checkPort(entry.Port, caller.User, message.Register.IPv6); err != nil {
			return cardbroker.Agent{}, err
		}
	}
	return b.registry.Register(ctx, claim)
}

// holdLink tells the agent that it is registered, and takes its messages until the link ends.
func (b *Broker) holdLink(ctx context.Context, conn *socket.Conn, agent cardbroker.Agent) error {
	send := func(m api.FromBroker) error {
		err := conn.WriteJSON(m)
		if err != nil {
			conn.Close() // half a link is none: its agent is to come back
		}
		return err
	}
	l := &link{linkView: linkView{agent: agent}, send: send}
	if err := b.hub.join(ctx, l); err != nil {
		return err
	}
	defer b.hub.leave(l)
	registered := api.Registered{
		Port:       agent.Port,
		Route:      agent.Route,
		BackendURL: b.backendURL(),
		Host:       b.cfg.HostName,
		Epoch:      b.registry.View().Epoch(),
		Sharing:    *b.sharing(), // read after joining: who joined is told of every turn
		Name:       b.hostAlias(),
		Dialled:    dialout.ByTenant(b.cfg.DialOut),
	}
	if err := send(api.FromBroker{Registered: &registered}); err != nil {
		return err
	}
	b.record(&agent.Key, cardbroker.Event{Name: cardbroker.EventAgentRegistered, Detail: fmt.Sprintf("port %d, pid %d", agent.Port, agent.PID)})
	b.cfg.Log.Info("agent registered", "user", agent.Key.User.String(), "session", agent.Key.Session, "port", agent.Port)
	return b.listen(ctx, conn, agent)
}

// listen takes the agent's messages until the link ends. Those that make work for others come at a rate.
func (b *Broker) listen(ctx context.Context, conn *socket.Conn, agent cardbroker.Agent) error {
	news := rate.NewLimiter(newsPerSecond, newsBurst)
	for {
		var message api.FromAgent
		err := conn.NextJSON(&message)
		switch {
		case err != nil:
		case message.Offers != nil:
			if err = news.Wait(ctx); err == nil {
				err = b.hub.setOffers(ctx, agent.Route, *message.Offers)
			}
		case message.DeviceKey != nil:
			if err = checkDeviceKey(*message.DeviceKey); err == nil && news.Wait(ctx) == nil {
				err = b.hub.setKey(ctx, agent.Route, *message.DeviceKey)
			}
		case message.Refused != nil:
			refusal := message.Refused.Error.Error()
			b.hub.deliver(ctx, message.Refused.ID, agent.Key.User, legAnswer{err: refusal})
		case message.Answer != nil:
			err = b.hub.answered(ctx, agent.Route, *message.Answer)
		case message.Caller != nil:
			if news.Allow() { // else it is lost: what an agent refuses is its own business first
				b.hub.refused(agentRefusal(agent, *message.Caller))
				b.sayRefused(agent.Key, *message.Caller)
			}
		case message.Event != nil:
			if err = news.Wait(ctx); err == nil {
				b.say(agent.Key, *message.Event)
			}
		case message.Usage != nil:
			if news.Allow() { // else it is lost: it is for statistics only
				b.metrics.Used(agent.Route, *message.Usage)
			}
		case message.Presence != nil:
			if err = news.Wait(ctx); err == nil {
				err = b.hub.setPresence(ctx, agent.Route, *message.Presence)
			}
		default:
			err = cardbroker.Errorf(cardbroker.Invalid, "an empty or unexpected message on the link")
		}
		if err != nil {
			return err
		}
	}
}

// tunnelLeg takes an agent's leg of a tunnel that it was asked to open.
func (b *Broker) tunnelLeg(w http.ResponseWriter, r *http.Request) error {
	id, user := r.PathValue("id"), httpserver.CallerOf(r.Context()).User
	if err := b.tunnels.Check(r); err != nil {
		return err
	}
	if err := b.hub.expects(r.Context(), id, user); err != nil {
		return err
	}
	conn, err := b.tunnels.Upgrade(w, r)
	if err != nil {
		return nil // it has answered
	}
	if err := b.hub.deliver(r.Context(), id, user, legAnswer{leg: conn}); err != nil {
		conn.Shutdown(err)
		conn.Close()
	}
	return nil
}
