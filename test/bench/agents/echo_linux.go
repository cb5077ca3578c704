// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package agents

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/client"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/journal"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

// EchoConfig says how an agent of this process holds its cards.
type EchoConfig struct {
	Broker   *client.Broker
	Tenant   cardbroker.Tenant
	Session  cardbroker.SessionID
	Journals journal.Folder        // of the leases; zero: they outlive cut connections only
	Held     func(context.Context) // called by a card that has the command of [HeldCommand]; its answer waits for the return
}

// Echo is an agent that lives in this process. Each tunnel to it gets a reader of its own, with a card made of memory: it answers
// as the software card does, with the command's data, or after a time.
type Echo struct {
	cfg    EchoConfig
	route  cardbroker.Route
	link   *socket.Conn
	leases *cardend.Leases
	holder *cardend.Holder
}

// NewEcho enrols such an agent, which ends with the group.
func NewEcho(group *run.Group, cfg EchoConfig) (*Echo, error) {
	ctx := group.Context()
	claim := api.Claim{Session: cfg.Session, Claim: string(cardbroker.RandomSecret().Reveal())}
	reservation, err := cfg.Broker.Reserve(ctx, claim)
	if err != nil {
		return nil, err
	}
	listeners, err := httpserver.ListenLoopback(ctx, reservation.Port)
	if err != nil {
		return nil, err
	}
	link, err := cfg.Broker.Link(ctx)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() {
		link.Close()
		for _, listener := range listeners {
			listener.Close()
		}
	})
	answer, err := register(link, api.Register{Claim: claim, IPv6: len(listeners) > 1})
	if err != nil {
		return nil, err
	}
	e := &Echo{cfg: cfg, route: answer.Route, link: link, leases: cardend.NewLeases()}
	e.holder = cardend.New(echoCards{cfg.Held}, e.leases)
	e.holder.Keep(cfg.Journals)
	group.Go("leases", e.leases.Run)
	group.Go("echo agent", func(context.Context) error { return e.listen(group) })
	return e, nil
}

// Ticket returns a ticket for a reader of the agent. It takes every one that names its route.
func (e *Echo) Ticket() string {
	return cardbroker.Ticket{Route: e.route, Secret: cardbroker.RandomSecret()}.Reveal()
}

// listen brings the legs of tunnels, new ones and those that go on over another connection.
func (e *Echo) listen(group *run.Group) error {
	for {
		message, err := next(e.link)
		if err != nil || message.Open == nil {
			return fmt.Errorf("a broker that asks for %+v: %w", message, err)
		}
		open := *message.Open
		group.Go("tunnel", func(ctx context.Context) error {
			ticket, err := cardbroker.ParseTicket(open.Ticket)
			if err != nil {
				return err
			}
			if ticket.Resume {
				return e.resume(ctx, open, ticket.Secret)
			}
			return e.serve(ctx, open)
		})
	}
}

// serve holds a card for one tunnel. A back end that goes is no failure of ours.
func (e *Echo) serve(ctx context.Context, open api.TunnelOpen) error {
	id, err := cardend.ParseTunnelID(open.ID)
	if err != nil {
		return err
	}
	leg, err := e.cfg.Broker.TunnelLeg(ctx, open.ID)
	if err != nil {
		return err
	}
	e.holder.Serve(ctx, leg, cardend.Tunnel{ID: id, Tenant: e.cfg.Tenant, Route: e.route, Reader: "Echo " + open.ID})
	return nil
}

// resume brings the leg over which a back end takes its lease up again.
func (e *Echo) resume(ctx context.Context, open api.TunnelOpen, secret cardbroker.Secret) error {
	lease, err := e.leases.Take(ctx, secret, e.cfg.Tenant)
	if err != nil {
		return err
	}
	leg, err := e.cfg.Broker.TunnelLeg(ctx, open.ID)
	if err != nil {
		return err
	}
	return lease.Attach(ctx, leg)
}

// register says the first word on a link.
func register(link *socket.Conn, r api.Register) (*api.Registered, error) {
	text, err := json.Marshal(api.FromAgent{Register: &r})
	if err != nil {
		return nil, err
	}
	if err := link.Write(text); err != nil {
		return nil, err
	}
	answer, err := next(link)
	if err == nil && answer.Registered == nil {
		err = fmt.Errorf("the broker registers no echo agent: %+v", answer)
	}
	return answer.Registered, err
}

// next reads the broker's next message.
func next(link *socket.Conn) (m api.FromBroker, err error) {
	text, err := link.Next()
	if err != nil {
		return m, err
	}
	return m, json.Unmarshal(text, &m)
}

// What a card of an echo answers otherwise than with the command's data.
const (
	insDelay = 0xEF // in as many ms as P1 P2 say, as the software card does
	insHeld  = 0xEC // when EchoConfig.Held returns
)

// DelayCommand is a command that takes the card so long, in whole ms.
func DelayCommand(d time.Duration) []byte {
	return binary.BigEndian.AppendUint16([]byte{0x80, insDelay}, uint16(d/time.Millisecond))
}

// HeldCommand is the one that [EchoConfig.Held] holds up.
func HeldCommand() []byte { return []byte{0x80, insHeld, 0, 0} }

// echoCards are readers with cards.
type echoCards struct{ held func(context.Context) }

// Open implements cardend.Cards.
func (c echoCards) Open(context.Context, string, cardbroker.ShareMode) (cardend.Card, error) {
	return echoCard(c), nil
}

type echoCard struct{ held func(context.Context) }

func (echoCard) Info() cardbroker.Card { return cardbroker.Card{Protocol: cardbroker.ProtocolT1} }

func (c echoCard) Transmit(ctx context.Context, dst, command []byte) ([]byte, time.Duration, error) {
	start := time.Now()
	switch command[1] {
	case insDelay:
		select {
		case <-time.After(time.Duration(binary.BigEndian.Uint16(command[2:])) * time.Millisecond):
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	case insHeld:
		c.held(ctx)
	default:
		return append(append(dst, command[7:len(command)-2]...), 0x90, 0), 0, nil
	}
	return append(dst, 0x90, 0), time.Since(start), nil
}

func (echoCard) Control(_ context.Context, dst []byte, _ uint32, input []byte) ([]byte, error) {
	return append(dst, input...), nil
}
func (echoCard) Attribute(context.Context, uint32) ([]byte, error) { return nil, nil }
func (echoCard) Begin(context.Context) error                       { return nil }
func (echoCard) End(context.Context, cardbroker.Disposition) error { return nil }
func (echoCard) Close(cardbroker.Disposition) error                { return nil }
