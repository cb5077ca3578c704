// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/trust"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// holdLink registers over a new link and listens to the broker until the link ends; the kernel reports its end, nobody
// pings. It says whether the agent was registered at all.
func (a *Agent) holdLink(ctx context.Context, e enrolment) (ok bool, err error) {
	conn, err := a.broker.Link(ctx)
	if err != nil {
		return false, fmt.Errorf("%w: %w", errNoLink, err)
	}
	group := run.New(ctx)
	stop := context.AfterFunc(group.Context(), func() { conn.Close() })
	defer stop()
	defer group.Stop()
	from := a.otherEnd()
	registered, err := a.register(conn, e, from)
	if err != nil {
		return false, err
	}
	a.cfg.Log.Info("registered", "port", registered.Port, "session", a.cfg.Session)
	a.reach.Note(a.cfg.PCSC, registered.Sharing, a.cfg.Log)
	a.registration.Store(&registered)
	defer a.registration.Store(nil)
	a.announceReady(e)
	tell := a.announce
	if from.Elected {
		tell = a.announceElected
	}
	group.Go("announce", func(ctx context.Context) error { return tell(ctx, conn) })
	group.Go("listen", func(context.Context) error {
		return a.listen(conn, group, hears{from, e.forwards, registered.Sharing.Turns})
	})
	return true, group.Wait()
}

// errNoLink is the cause of a registration that did not come to a word.
var errNoLink = errors.New("no link")

// askRegistration says the first word on a link and waits for the answer.
func askRegistration(conn *socket.Conn, r api.Register, from trust.Registry) (api.Registered, error) {
	if err := conn.WriteJSON(api.FromAgent{Register: &r}); err != nil {
		return api.Registered{}, err
	}
	var newer api.Sharing // what the broker said of the host meanwhile
	for {
		var answer api.FromBroker
		err := conn.NextJSON(&answer)
		if err == nil {
			answer, err = from.Hear(answer)
		}
		switch {
		case err != nil:
			return api.Registered{}, err
		case answer.Failed != nil:
			return api.Registered{}, answer.Failed.Error()
		case answer.Sharing != nil:
			newer = *answer.Sharing
		case answer.Registered != nil:
			if newer.Turns > answer.Registered.Sharing.Turns {
				answer.Registered.Sharing = newer
			}
			return from.Registered(*answer.Registered, r.Port)
		case answer.Voters != nil: // comes again
		default:
			return api.Registered{}, cardbroker.Errorf(cardbroker.Invalid, "the broker answered register with something else")
		}
	}
}

// announceReady tells the outside that the agent is registered: by its note, and once by Config.Ready.
func (a *Agent) announceReady(e enrolment) {
	a.waits.End()
	note := a.note(e)
	if err := a.home.LeaveNote(note); err != nil {
		a.cfg.Log.Warn("cannot leave a note for agent status", "err", err)
	}
	a.ready.Do(func() {
		a.cfg.Ready(note)
		a.tunnels.Go("device key", a.keys.Make)
	})
}

// errKicked is the cause of an end that an administrator has asked for.
var errKicked = errors.New("kicked")

// hears is what the goroutine that listens to a link has.
type hears struct {
	from     trust.Registry
	forwards *httpserver.Forwards
	turns    uint64 // of the last Sharing that was noted
}

// listen takes the broker's messages until the link ends.
func (a *Agent) listen(conn *socket.Conn, group *run.Group, h hears) error {
	asks := newAsks(group)
	for {
		var message api.FromBroker
		err := conn.NextJSON(&message)
		if err == nil {
			message, err = h.from.Hear(message)
		}
		switch {
		case err != nil:
			return err
		case message.Open != nil:
			a.openTunnel(conn, *message.Open)
		case message.Ask != nil:
			a.asked(conn, asks, *message.Ask)
		case message.Forward != nil:
			a.fetch(h.forwards, *message.Forward)
		case message.Voters != nil:
			a.cfg.Election.Appoint(message.Voters.Voters)
		case message.Sharing != nil:
			if message.Sharing.Turns > h.turns {
				h.turns = message.Sharing.Turns
				a.reach.Note(a.cfg.PCSC, *message.Sharing, a.cfg.Log)
			}
		case message.Revoke != nil:
			a.revokedByAdmin(*message.Revoke)
		case message.Kicked != nil:
			return cardbroker.Wrapf(errKicked, cardbroker.Forbidden, "an administrator has ended this agent")
		default:
			return cardbroker.Errorf(cardbroker.Invalid, "an empty or unexpected message on the link")
		}
	}
}

// openTunnel decides on a back end's wish for a tunnel: it burns the ticket and brings the agent's leg, or says why not.
func (a *Agent) openTunnel(link *socket.Conn, open api.TunnelOpen) {
	if ticket, err := cardbroker.ParseTicket(open.Ticket); err == nil && ticket.Resume {
		a.resumeTunnel(link, open, ticket.Secret)
		return
	}
	a.tunnels.Go("tunnel", func(ctx context.Context) error {
		log := a.cfg.Log.With("tunnel", open.ID, "tenant", open.Tenant, "method", open.Method, "backend", open.Address)
		offer, err := a.redeem(ctx, open)
		if err != nil {
			a.refuseTunnel(link, open, "", err)
			return nil
		}
		defer a.desk.finish(open.ID)
		if offer.origin != "" { // what a page was given ends with its consent
			var stop func()
			ctx, stop = httpserver.While(ctx, a.consents.While(offer.origin))
			defer stop()
		}
		leg, err := a.broker.TunnelLeg(ctx, open.ID)
		if err != nil {
			a.refuseTunnel(link, open, offer.name, err)
			return nil
		}
		log.Info("tunnel opened", "reader", offer.name)
		a.record(tunnelEvent(cardbroker.EventTunnelOpened, open, offer.name, nil))
		err = a.serveTunnel(ctx, leg, open, offer)
		a.record(tunnelEvent(cardbroker.EventTunnelEnded, open, offer.name, err))
		log.Info("tunnel ended", "err", err)
		return nil
	})
}

// refuseTunnel tells the broker, and so the back end, why there is no tunnel.
func (a *Agent) refuseTunnel(link *socket.Conn, open api.TunnelOpen, reader string, err error) {
	a.cfg.Log.Info("tunnel refused", "tunnel", open.ID, "tenant", open.Tenant, "reason", cardbroker.ReasonOf(err), "err", err)
	a.record(tunnelEvent(cardbroker.EventTunnelRefused, open, reader, err))
	link.WriteJSON(api.FromAgent{Refused: &api.TunnelRefused{ID: open.ID, Error: api.Describe(err)}})
}

// redeem burns the ticket of a tunnel that is to be opened. A reader that is held costs nobody his ticket.
func (a *Agent) redeem(ctx context.Context, open api.TunnelOpen) (offer, error) {
	wish := tunnelWish{id: open.ID, tenant: open.Tenant, reader: open.Reader, taken: a.taken}
	if open.Ticket == "" {
		return a.openStanding(wish)
	}
	ticket, err := cardbroker.ParseTicket(open.Ticket)
	if err != nil {
		return offer{}, refuseTicket()
	}
	return a.desk.burn(ctx, ticket.Secret, wish)
}

// serveTunnel holds the offered reader for the back end until the tunnel ends.
func (a *Agent) serveTunnel(ctx context.Context, leg *socket.Conn, open api.TunnelOpen, offer offer) error {
	id, err := cardend.ParseTunnelID(open.ID)
	if err != nil {
		leg.Close()
		return err
	}
	leg.LimitSilence(wire.MaxSilence) // the back end pings while it has nothing to ask
	tunnel, stop := a.tunnel(cardend.Note{
		Tenant:   open.Tenant,
		Method:   open.Method,
		Backend:  open.Address,
		Reader:   offer.name,
		Origin:   offer.origin,
		Standing: offer.standing,
	})
	defer stop()
	tunnel.ID = id
	return a.holder.Serve(ctx, leg, tunnel)
}

// tunnel returns what the holder wants to know of a tunnel for whom note says. stop ends what it watches.
func (a *Agent) tunnel(note cardend.Note) (t cardend.Tunnel, stop func()) {
	a.pins.EndReader(note.Reader, "a back end takes the reader")
	changed, stop := a.cards.Watch()
	policy := a.cfg.Policy.Tenant(note.Tenant)
	t = cardend.Tunnel{
		Tenant:     note.Tenant,
		Method:     note.Method,
		Backend:    note.Backend,
		Reader:     note.Reader,
		Origin:     note.Origin,
		Standing:   note.Standing,
		Epoch:      a.cards.Epoch(),
		Epochs:     a.cards.Epoch,
		Durability: policy.Durability,
		LeaseMax:   policy.LeaseMax,
		PIN:        policy.PIN,
		Firewall:   policy.Firewall.Compiled(),
		Refused:    a.commandsRefused(note),
		Asker:      a.asker,
		Control:    policy.Control,
		Changed:    changed,
		Present:    func() *cardbroker.Card { return a.cards.Present(note.Reader) },
		Report:     a.tellUsage,
	}
	if registered := a.registration.Load(); registered != nil {
		t.Route = registered.Route
	}
	return t, stop
}

// announce tells the broker of offers and leases whenever they, or the cards in offered readers, change, and of callers
// that were refused. It watches the readers only while something is offered: a watcher keeps the sandbox running. Where readers
// are offered for good, that is as long as the link.
func (a *Agent) announce(ctx context.Context, conn *socket.Conn) error {
	var said api.Offers
	var stood api.Presence
	var readers <-chan struct{}
	made := a.keys.Ready() // nil once the broker was told
	stop := func() {}
	defer func() { stop() }()
	standing := len(a.cfg.Policy.Standing()) > 0
	for {
		offers := a.offers()
		if watch := standing || len(*a.desk.view.Load()) > 0; watch != (readers != nil) {
			stop()
			readers, stop = nil, func() {}
			if watch {
				readers, stop = a.cards.Watch()
			}
			continue // what was read before the watch may be old
		}
		if !reflect.DeepEqual(offers, said) {
			if err := conn.WriteJSON(api.FromAgent{Offers: &offers}); err != nil {
				return err
			}
			said = offers
		}
		if stands := *a.present.stands.Load(); stands != stood {
			if err := conn.WriteJSON(api.FromAgent{Presence: &stands}); err != nil {
				return err
			}
			stood = stands
		}
		select {
		case <-a.present.changed:
		case <-a.desk.changed:
		case <-a.leases.Changed():
		case <-readers:
		case <-made:
			if err := a.tellDeviceKey(conn); err != nil {
				return err
			}
			made = nil
		case told := <-a.refusals:
			if err := conn.WriteJSON(api.FromAgent{Caller: &told}); err != nil {
				return err
			}
		case usage := <-a.measured:
			if err := conn.WriteJSON(api.FromAgent{Usage: &usage}); err != nil {
				return err
			}
		case event := <-a.recorded:
			if err := a.tellEvent(conn, event); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// tellRefused has the broker told whom the agent has turned away. It waits for nobody: while too many wait to be told,
// the rest is lost, for it is for people only.
func (a *Agent) tellRefused(r httpserver.Refusal) {
	described := api.Describe(r.Err)
	told := api.CallerRefused{
		Client: r.Caller.Client.String(),
		Server: r.Caller.Server.String(),
		Reason: described.Reason,
		Rule:   described.Rule,
		Detail: described.Description,
	}
	if r.Caller.Inode != 0 { // the kernel named him
		told.UID = api.UID(r.Caller.User)
	}
	select {
	case a.refusals <- told:
	default:
	}
}

// tellUsage has the broker told what a tunnel's commands took. It waits for nobody: what has no room is lost, for it is for
// statistics only.
func (a *Agent) tellUsage(u api.Usage) {
	select {
	case a.measured <- u:
	default:
	}
}
