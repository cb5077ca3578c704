// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/cards"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/test/bench/calls"
	"github.com/cardbroker/cardbroker/test/bench/helper"
	"github.com/cardbroker/cardbroker/test/bench/sample"
	"github.com/cardbroker/cardbroker/test/pcscbed"
	"github.com/cardbroker/cardbroker/virtualreader"
)

// nativePCSC is what the rows about PC/SC are compared with: programs on this machine use it without us.
const nativePCSC = "scard on pcscd and vpcd"

// skipAll skips n rows.
func skipAll(n int, why error) []measured {
	skipped := make([]measured, n)
	for i := range skipped {
		skipped[i].skip = why.Error()
	}
	return skipped
}

// startBed starts a PC/SC service with the software card in its first reader. Whoever gets it stops it.
func (b *bench) startBed(ctx context.Context, name string, card pcscbed.Card) (*pcscbed.Bed, error) {
	bed, err := pcscbed.Start(ctx, pcscbed.Config{Dir: b.stage.Path(name + "-bed"), Readers: 2, Card: b.stage.Path("bin", "vcard")})
	if err != nil {
		return nil, err
	}
	if err := bed.Insert(ctx, 0, card); err != nil {
		return nil, errors.Join(err, bed.Stop())
	}
	return bed, nil
}

// desk is a PC/SC service with the software card in its first reader, and the agent that has them.
type desk struct {
	bed   *pcscbed.Bed
	host  *host
	agent *agent
}

// startDesk starts one. Whoever gets it stops it.
func (b *bench) startDesk(ctx context.Context, name string) (_ *desk, err error) {
	d := &desk{}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.stop())
		}
	}()
	if d.bed, err = b.startBed(ctx, name, pcscbed.Card{}); err != nil {
		return nil, err
	}
	if d.host, err = b.startHost(name); err != nil {
		return nil, err
	}
	d.agent, err = d.host.startAgentOf("--pcsc-socket=" + d.bed.Socket())
	return d, err
}

func (d *desk) stop() error {
	if d.host != nil {
		d.host.stop()
	}
	if d.bed != nil {
		return d.bed.Stop()
	}
	return nil
}

// apiRows are the calls of the API, by a C library's client: on our server with a software card, and on pcscd.
func apiRows() []row {
	var rows []row
	for _, call := range calls.All() {
		rows = append(rows, row{"PC/SC server, software card: " + call, "µs", goal{ofRatio, 1}})
	}
	return rows
}

// api measures each call of the API on our server beside pcscd and vpcd, with the same software card behind both.
func (b *bench) api(ctx context.Context) (_ []measured, err error) {
	all := calls.All()
	if why := pcscbed.Supported(); why != nil {
		return skipAll(len(all), why), nil
	}
	bed, err := b.startBed(ctx, "api", pcscbed.Card{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, bed.Stop()) }()
	if err := os.Mkdir(b.stage.Path("api"), 0o700); err != nil {
		return nil, err
	}
	var reader string
	server, err := b.help(nil, &reader, helpPCSC, b.stage.Path("api", "socket"))
	if err != nil {
		return nil, err
	}
	defer server.End()
	ours, err := b.help(nil, nil, helpCalls, b.stage.Path("api", "socket"), reader)
	if err != nil {
		return nil, err
	}
	defer ours.End()
	theirs, err := b.help(nil, nil, helpCalls, bed.Socket(), bed.Readers()[0])
	if err != nil {
		return nil, err
	}
	defer theirs.End()
	var found []measured
	for i, row := range apiRows() {
		if !b.wants(row.name) {
			found = append(found, measured{})
			continue
		}
		b.progress("%s …", all[i])
		here, there := calling(ours, all[i]), calling(theirs, all[i])
		if err := sample.InTurns(ctx, pick(b, 20, 5), here, there); err != nil {
			return nil, err
		}
		found = append(found, against(here, "pcscd and vpcd", there))
	}
	return found, nil
}

// calling is the path of a call that a client makes.
func calling(client *helper.Process, call string) *sample.Path {
	return &sample.Path{Trips: func(warm, count int) ([]float64, error) {
		var took calls.Took
		if err := client.Ask(calls.Block{Call: call, Warm: warm, Count: count}, &took); err != nil {
			return nil, err
		}
		if took.Err != "" {
			return nil, errors.New(took.Err)
		}
		return took.Samples, nil
	}}
}

// chain measures one command to the card in a PC/SC reader at each of our parts on its way.
func (b *bench) chain(ctx context.Context) (_ []measured, err error) {
	if why := pcscbed.Supported(); why != nil {
		return skipAll(4, why), nil
	}
	d, err := b.startDesk(ctx, "chain")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	if err := d.bed.Insert(ctx, 1, pcscbed.Card{}); err != nil { // a reader has one lease at a time
		return nil, err
	}
	tunnel, err := d.agent.openTunnel(ctx, d.host, d.bed.Readers()[0])
	if err != nil {
		return nil, err
	}
	defer tunnel.Close()
	served, err := d.host.serveReader(ctx, d.agent, d.bed.Readers()[1])
	if err != nil {
		return nil, err
	}
	defer served.End()
	group := run.New(ctx)
	defer group.Stop()
	box := b.sandboxOn(d.bed)
	group.Go("sandbox", box.Run)
	card, err := openTwice(ctx, box, d.bed.Readers()[0], tunnel)
	if err != nil {
		return nil, err
	}
	defer card.Close(cardbroker.LeaveCard)
	native, err := b.help(nil, nil, helpCalls, d.bed.Socket(), d.bed.Readers()[0])
	if err != nil {
		return nil, err
	}
	defer native.End()
	limit, sandbox, whole := calling(native, calls.Transmit), throughSandbox(ctx, card), calling(served, calls.Transmit)
	atAgent, end := throughTunnel(ctx, tunnel)
	if err := sample.InTurns(ctx, pick(b, 40, 8), limit, sandbox, end, whole); err != nil {
		return nil, err
	}
	return []measured{
		against(sandbox, nativePCSC, limit),
		against(atAgent, nativePCSC, limit),
		against(end, nativePCSC, limit),
		against(whole, nativePCSC, limit),
	}, nil
}

// openTwice opens a card that a tunnel uses, too. Who first uses a card resets it, for it may have something of an earlier agent's on
// it, and all other connections are told so: it is done before there are any that are measured.
func openTwice(ctx context.Context, box *cards.Sandbox, reader string, tunnel *virtualreader.Tunnel) (*cards.Card, error) {
	card, err := box.Open(ctx, reader, cardbroker.ShareShared)
	if err != nil {
		return nil, err
	}
	if err := card.Close(cardbroker.LeaveCard); err != nil {
		return nil, err
	}
	if _, err := tunnel.Transmit(ctx, calls.Echo()); err != nil {
		return nil, err
	}
	return box.Open(ctx, reader, cardbroker.ShareShared)
}

// sandboxOn is a sandbox for the readers of a service.
func (b *bench) sandboxOn(bed *pcscbed.Bed) *cards.Sandbox {
	return cards.New(cards.Config{
		Program: b.stage.Path("bin", "cardsandbox"),
		Args:    []string{"pcsc"},
		Env:     []string{"PCSCLITE_CSOCK_NAME=" + bed.Socket()},
	})
}

// throughSandbox is the path from a process to the card by its sandbox.
func throughSandbox(ctx context.Context, card *cards.Card) *sample.Path {
	command := calls.Echo()
	var answer []byte
	return &sample.Path{Trip: func() (err error) {
		if answer, _, err = card.Transmit(ctx, answer[:0], command); err == nil && !calls.IsEcho(answer) {
			err = fmt.Errorf("no echo, but %d bytes", len(answer))
		}
		return err
	}}
}

// throughTunnel is the path of a back end, and beside it what the agent says that it took of it.
func throughTunnel(ctx context.Context, t *virtualreader.Tunnel) (agent, whole *sample.Path) {
	command := calls.Echo()
	agent = &sample.Path{}
	return agent, &sample.Path{Trips: func(warm, count int) ([]float64, error) {
		var there, all []float64
		for n := range warm + count {
			answer, err := t.Transmit(ctx, command)
			if err != nil {
				return nil, err
			}
			if !calls.IsEcho(answer.Response) {
				return nil, fmt.Errorf("no echo, but %d bytes", len(answer.Response))
			}
			if n >= warm {
				there, all = append(there, sample.Micros(answer.Agent)), append(all, sample.Micros(answer.Total))
			}
		}
		agent.Add(there)
		return all, nil
	}}
}

// serveReader has `cardbroker reader serve` serve a reader of the agent, and returns a client of that.
func (h *host) serveReader(ctx context.Context, a *agent, reader string) (*helper.Process, error) {
	ticket, err := a.offer(ctx, reader)
	if err != nil {
		return nil, err
	}
	file := func(suffix string) string { return h.bench.stage.Path(h.name + suffix) }
	if err := os.Mkdir(file("-serve"), 0o700); err != nil {
		return nil, err
	}
	socket := file("-serve/socket")
	service, ready, err := h.bench.stage.Start(nil, h.name+"-serve", "reader", "serve", "--socket", socket, "--broker", h.door,
		"--ca", file("-cert.pem"), "--token-file", file("-token"), "--ticket", ticket)
	if err != nil {
		return nil, err
	}
	h.running = append(h.running, service)
	if len(ready.Readers) != 1 {
		return nil, fmt.Errorf("%d readers are served, want 1", len(ready.Readers))
	}
	return h.bench.help(nil, nil, helpCalls, socket, ready.Readers[0])
}
