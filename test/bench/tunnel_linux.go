// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"

	"github.com/gorilla/websocket"

	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/sandbox/softcard"
	"github.com/cardbroker/cardbroker/test/bench/agents"
	"github.com/cardbroker/cardbroker/test/bench/bare"
	"github.com/cardbroker/cardbroker/test/bench/sample"
	"github.com/cardbroker/cardbroker/virtualreader"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// against returns a path's figures beside those of another that was measured in turns with it.
func against(ours *sample.Path, name string, other *sample.Path) measured {
	ratios := sample.Ratios(ours.Medians, other.Medians)
	return measured{ours: ours.Took, limit: &limit{Name: name, P50: sample.Summarize(other.Took).P50}, ratios: ratios}
}

// tailAgainst does that with the p99 of each round.
func tailAgainst(ours *sample.Path, name string, other *sample.Path) measured {
	ratios := sample.Ratios(ours.Tails, other.Tails) // before they are sorted
	return measured{ours: ours.Tails, limit: &limit{Name: name, P50: sample.Summarize(other.Tails).P50}, ratios: ratios}
}

// tunnels measures the bare relays and, against them, tunnels: one that ends in a card made of memory in this process,
// as the bare relays' echoes do, and one that ends in the software card behind an agent and its sandbox.
func (b *bench) tunnels(ctx context.Context) ([]measured, error) {
	group := run.New(ctx)
	defer group.Stop()
	tcp, gorilla, end, err := b.bareRelays(group)
	if err != nil {
		return nil, err
	}
	defer end()
	host, err := b.startHost("tunnels")
	if err != nil {
		return nil, err
	}
	defer host.stop()
	holder, err := agents.NewEcho(group, host.echo("echo"))
	if err != nil {
		return nil, err
	}
	echo, err := host.open(ctx, holder.Ticket())
	if err != nil {
		return nil, err
	}
	defer echo.Close()
	agent, err := host.startAgent()
	if err != nil {
		return nil, err
	}
	card, err := agent.openTunnel(ctx, host, softcard.Name)
	if err != nil {
		return nil, err
	}
	defer card.Close()
	ours, whole, again := transmitting(ctx, echo), transmitting(ctx, card), &sample.Path{Trip: gorilla.Trip}
	if err := sample.InTurns(ctx, pick(b, 80, 20), tcp, gorilla, ours); err != nil {
		return nil, err
	}
	if err := sample.InTurns(ctx, pick(b, 40, 10), again, whole); err != nil { // apart: it uses the broker as well
		return nil, err
	}
	return []measured{
		against(gorilla, "TCP relay", tcp),
		against(ours, "gorilla relay", gorilla),
		tailAgainst(ours, "gorilla relay, p99 of each round", gorilla),
		against(whole, "gorilla relay", again),
	}, nil
}

// messageSize is what goes through a tunnel, the frame's header with it.
const messageSize = 300

// echoCommand is a command that the software card answers with its own data. As a frame it has 300 bytes; its answer
// has five more.
func echoCommand() []byte {
	const head, tail = 7, 2 // CLA INS P1 P2 and Lc, Le in the extended length, ISO/IEC 7816-4 §5.2
	data := make([]byte, messageSize-wire.HeaderSize-head-tail)
	command := []byte{0x80, 0xEE, 0, 0, 0, byte(len(data) >> 8), byte(len(data))}
	return append(append(command, data...), 0, 0)
}

// checkEcho says whether response is the answer to a command.
func checkEcho(command, response []byte) error {
	if n := len(response); n != len(command)-7 || response[n-2] != 0x90 {
		return fmt.Errorf("an echo of %d bytes, want %d and 9000", n, len(command)-7)
	}
	return nil
}

// transmitting is the path through a tunnel.
func transmitting(ctx context.Context, t *virtualreader.Tunnel) *sample.Path {
	command := echoCommand()
	return &sample.Path{Trip: func() error {
		answer, err := t.Transmit(ctx, command)
		if err != nil {
			return err
		}
		return checkEcho(command, answer.Response)
	}}
}

// bareRelays are the paths to echoes here, through relays in processes of their own, which end ends.
func (b *bench) bareRelays(group *run.Group) (tcp, gorilla *sample.Path, end func(), err error) {
	ctx := group.Context()
	echo, err := bare.ListenTCP(group, func(conn net.Conn) { bare.PumpTCP(conn, conn) })
	if err != nil {
		return nil, nil, nil, err
	}
	var address string
	relay, err := b.help(nil, &address, helpRelayTCP, echo)
	if err != nil {
		return nil, nil, nil, err
	}
	url, endWeb, err := b.gorillaRelay(group)
	if err != nil {
		relay.End()
		return nil, nil, nil, err
	}
	end = func() { endWeb(); relay.End() }
	if tcp, err = tcpPath(ctx, address); err == nil {
		gorilla, err = webPath(ctx, url)
	}
	if err != nil {
		end()
	}
	return tcp, gorilla, end, err
}

// gorillaRelay starts the bare relay of WebSockets, and its echo here, and returns where it is.
func (b *bench) gorillaRelay(group *run.Group) (url string, end func(), err error) {
	echo, err := bare.ListenWeb(group, func(ws *websocket.Conn) { bare.PumpWeb(ws, ws) })
	if err != nil {
		return "", nil, err
	}
	relay, err := b.help(nil, &url, helpRelayWeb, echo)
	if err != nil {
		return "", nil, err
	}
	return url, relay.End, nil
}

// tcpPath is the path to the echo behind the TCP relay.
func tcpPath(ctx context.Context, address string) (*sample.Path, error) {
	conn, err := bare.Dial(ctx, address)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { conn.Close() })
	message := binary.BigEndian.AppendUint32(nil, messageSize)
	message = append(message, make([]byte, messageSize)...)
	buf := make([]byte, bare.Buffer)
	return &sample.Path{Trip: func() error {
		if _, err := conn.Write(message); err != nil {
			return err
		}
		_, err := bare.ReadTCP(conn, buf)
		return err
	}}, nil
}

// webPath is the path to the echo behind the WebSocket relay.
func webPath(ctx context.Context, url string) (*sample.Path, error) {
	ws, err := bare.DialWeb(ctx, url)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { ws.Close() })
	message, buf := make([]byte, messageSize), make([]byte, bare.Buffer)
	return &sample.Path{Trip: func() error {
		if err := ws.WriteMessage(websocket.BinaryMessage, message); err != nil {
			return err
		}
		_, err := bare.ReadWeb(ws, buf)
		return err
	}}, nil
}
