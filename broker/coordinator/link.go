// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"net/http"
	"time"

	"golang.org/x/time/rate"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/peer"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

// registerTimeout is how long a new link may take to say Register.
const registerTimeout = 10 * time.Second

// How often one agent may say what it offers, or whom it has refused: each time lists and subscribers are told.
const (
	newsPerSecond = 100
	newsBurst     = 200
)

// OpenLink upgrades an agent's link and leaves it to a goroutine of its own.
func (c *Coordinator) OpenLink(w http.ResponseWriter, r *http.Request) error {
	if err := c.links.Check(r); err != nil {
		return err
	}
	conn, err := c.links.Upgrade(w, r)
	if err != nil {
		return nil // it has answered
	}
	caller := httpserver.CallerOf(r.Context())
	c.Go("link", func(ctx context.Context) error {
		defer conn.Close()
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		defer stop()
		c.serveLink(ctx, conn, caller)
		return nil
	})
	return nil
}

// serveLink registers an agent and listens to it until its link ends, which is its end.
func (c *Coordinator) serveLink(ctx context.Context, conn *socket.Conn, caller peer.Caller) {
	register, agent, err := c.register(ctx, conn, caller)
	if err != nil {
		c.cfg.Log.Info("registration refused", "user", caller.User.String(), "reason", cardbroker.ReasonOf(err), "err", err)
		failed := api.Describe(err)
		conn.WriteJSON(api.FromBroker{Failed: &failed})
		conn.Shutdown(err)
		return
	}
	log := c.cfg.Log.With("user", agent.Key.User.String(), "session", agent.Key.Session, "port", agent.Port)
	err = c.holdLink(ctx, conn, agent, register.Voter)
	if ctx.Err() != nil {
		return // we end, not the agent: its entry stays as it is
	}
	log.Info("agent's link ended", "err", err)
	if c.cfg.Left != nil {
		c.cfg.Left(agent)
	}
	if err := c.cfg.Registry.Detach(ctx, agent); err != nil {
		log.Error("cannot mark the agent stale", "err", err)
	}
}

// register reads the agent's first message and enters the agent. Whoever gets an agent from it calls Detach in the end.
func (c *Coordinator) register(ctx context.Context, conn *socket.Conn, caller peer.Caller) (api.Register, cardbroker.Agent, error) {
	late := time.AfterFunc(registerTimeout, func() { conn.Close() })
	var message api.FromAgent
	err := conn.NextJSON(&message)
	late.Stop()
	if err != nil {
		return api.Register{}, cardbroker.Agent{}, err
	}
	if message.Register == nil {
		return api.Register{}, cardbroker.Agent{}, cardbroker.Errorf(cardbroker.Invalid, "a link begins with register")
	}
	agent, err := c.enter(ctx, *message.Register, caller)
	return *message.Register, agent, err
}

// enter asks the kernel whether the agent really listens, and enters it.
func (c *Coordinator) enter(ctx context.Context, register api.Register, caller peer.Caller) (cardbroker.Agent, error) {
	claim, err := checkClaim(caller, register.Claim)
	if err == nil && c.cfg.Admit != nil {
		err = c.cfg.Admit(register)
	}
	if err != nil {
		return cardbroker.Agent{}, err
	}
	if register.Port != 0 && !c.cfg.Held {
		if err := c.CheckPort(register.Port, caller.User, register.IPv6); err != nil {
			return cardbroker.Agent{}, err
		}
		return c.cfg.Registry.Assert(ctx, claim, register.Port)
	}
	if entry, ok := c.cfg.Registry.View().ByKey(claim.Key); ok {
		if err := c.CheckPort(entry.Port, caller.User, register.IPv6); err != nil {
			return cardbroker.Agent{}, err
		}
	}
	return c.cfg.Registry.Register(ctx, claim)
}

// holdLink tells the agent that it is registered, and takes its messages until the link ends.
func (c *Coordinator) holdLink(ctx context.Context, conn *socket.Conn, agent cardbroker.Agent, voter *api.Voter) error {
	send := func(m api.FromBroker) error {
		err := conn.WriteJSON(m)
		if err != nil {
			conn.Close() // half a link is none: its agent is to come back
		}
		return err
	}
	l := &Link{View: View{Agent: agent}, Send: send}
	if err := c.Hub.Join(ctx, l); err != nil {
		return err
	}
	defer c.Hub.Leave(l)
	registered := api.Registered{
		Port:    agent.Port,
		Route:   agent.Route,
		Host:    c.cfg.HostName,
		Epoch:   c.cfg.Registry.View().Epoch(),
		Mode:    c.cfg.Mode,
		Sharing: *c.sharing(), // read after joining: who joined is told of every turn
	}
	if c.cfg.Complete != nil {
		c.cfg.Complete(&registered)
	}
	if err := send(api.FromBroker{Registered: &registered}); err != nil {
		return err
	}
	if voter != nil { // it stands from now on: it has heard who we are
		if err := c.Hub.Update(agent.Route, func(v *View) { v.Voter = voter }); err != nil {
			return err
		}
	}
	if c.cfg.Came != nil {
		c.cfg.Came(agent)
	}
	c.cfg.Log.Info("agent registered", "user", agent.Key.User.String(), "session", agent.Key.Session, "port", agent.Port)
	return c.listen(ctx, conn, agent)
}

// listen takes the agent's messages until the link ends. Those that make work for others come at a rate.
func (c *Coordinator) listen(ctx context.Context, conn *socket.Conn, agent cardbroker.Agent) error {
	news := rate.NewLimiter(newsPerSecond, newsBurst)
	for {
		var message api.FromAgent
		err := conn.NextJSON(&message)
		switch {
		case err != nil:
		case message.DeviceKey != nil:
			if err = checkDeviceKey(*message.DeviceKey); err == nil && news.Wait(ctx) == nil {
				err = c.Hub.Update(agent.Route, func(v *View) { v.Key = *message.DeviceKey })
			}
		case message.Answer != nil:
			err = c.Hub.answered(agent.Route, *message.Answer)
		case message.Presence != nil:
			if err = news.Wait(ctx); err == nil {
				p := message.Presence
				said := api.Presence{Kind: Clip(p.Kind), Display: Clip(p.Display), Known: p.Known, Locked: p.Locked, Away: p.Away}
				err = c.Hub.Update(agent.Route, func(v *View) { v.Presence = said })
			}
		default:
			err = c.cfg.Heard(ctx, agent, news, message)
		}
		if err != nil {
			return err
		}
	}
}

// Unexpected is what an agent gets for a message that nobody expects.
func Unexpected() error {
	return cardbroker.Errorf(cardbroker.Invalid, "an empty or unexpected message on the link")
}
