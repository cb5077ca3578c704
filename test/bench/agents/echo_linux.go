// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package agents

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/client"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

// Echo enrols an agent that lives in this process, and holds a card made of memory. It takes every ticket for it
// that names its route, and returns one. The agent ends with the group.
func Echo(group *run.Group, broker *client.Broker, tenant cardbroker.Tenant) (ticket string, err error) {
	ctx := group.Context()
	claim := api.Claim{Session: "echo", Claim: string(cardbroker.RandomSecret().Reveal())}
	reservation, err := broker.Reserve(ctx, claim)
	if err != nil {
		return "", err
	}
	listeners, err := httpserver.ListenLoopback(ctx, reservation.Port)
	if err != nil {
		return "", err
	}
	link, err := broker.Link(ctx)
	if err != nil {
		return "", err
	}
	context.AfterFunc(ctx, func() {
		link.Close()
		for _, listener := range listeners {
			listener.Close()
		}
	})
	answer, err := register(link, api.Register{Claim: claim, IPv6: len(listeners) > 1})
	if err != nil {
		return "", err
	}
	leases := cardend.NewLeases()
	group.Go("leases", leases.Run)
	holder := cardend.New(echoCards{}, leases)
	group.Go("echo agent", func(ctx context.Context) error {
		for {
			open, err := next(link)
			if err != nil || open.Open == nil {
				return fmt.Errorf("a broker that asks for %+v: %w", open, err)
			}
			leg, err := broker.TunnelLeg(ctx, open.Open.ID)
			if err != nil {
				return err
			}
			group.Go("tunnel", func(ctx context.Context) error { return serveEcho(ctx, holder, leg, tenant, open.Open.ID) })
		}
	})
	return cardbroker.Ticket{Route: answer.Route, Secret: cardbroker.RandomSecret()}.Reveal(), nil
}

// serveEcho holds the card for one tunnel.
func serveEcho(ctx context.Context, holder *cardend.Holder, leg *socket.Conn, tenant cardbroker.Tenant, id string) error {
	var tunnel cardend.TunnelID
	if _, err := hex.Decode(tunnel[:], []byte(id)); err != nil {
		return err
	}
	return holder.Serve(ctx, leg, cardend.Tunnel{ID: tunnel, Tenant: tenant, Reader: "Echo 00 00"})
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

// echoCards are a reader with a card that answers as the software card does: with the command's data.
type echoCards struct{}

// Open implements cardend.Cards.
func (echoCards) Open(context.Context, string, cardbroker.ShareMode) (cardend.Card, error) {
	return echoCard{}, nil
}

type echoCard struct{}

func (echoCard) Info() cardbroker.Card { return cardbroker.Card{Protocol: cardbroker.ProtocolT1} }

func (echoCard) Transmit(_ context.Context, dst, command []byte) ([]byte, time.Duration, error) {
	return append(append(dst, command[7:len(command)-2]...), 0x90, 0), 0, nil
}

func (echoCard) Control(_ context.Context, dst []byte, _ uint32, input []byte) ([]byte, error) {
	return append(dst, input...), nil
}
func (echoCard) Attribute(context.Context, uint32) ([]byte, error) { return nil, nil }
func (echoCard) Begin(context.Context) error                       { return nil }
func (echoCard) End(context.Context, cardbroker.Disposition) error { return nil }
func (echoCard) Close(cardbroker.Disposition) error                { return nil }
