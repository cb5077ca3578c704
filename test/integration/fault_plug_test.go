// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/test/stage"
	"github.com/cardbroker/cardbroker/virtualreader/pcscd"
)

// plugs are readers that come and go, which the virtual readers of pcscd cannot: the source of a PC/SC service of our own.
type plugs struct {
	chain  *chain
	events chan pcscd.Event
	plugs  chan map[string]chan struct{} // the readers that are there, and what is closed when one goes; capacity 1
}

var _ pcscd.Source = (*plugs)(nil)

func newPlugs(c *chain) *plugs {
	p := &plugs{chain: c, events: make(chan pcscd.Event), plugs: make(chan map[string]chan struct{}, 1)}
	p.plugs <- map[string]chan struct{}{}
	return p
}

func plugCard() cardbroker.Card {
	return cardbroker.Card{ATR: []byte{0x3B, 0x80, 0x80, 0x01, 0x01}, Protocol: cardbroker.ProtocolT1}
}

// plug plugs a reader in, with its card in it.
func (p *plugs) plug(name string) {
	all := <-p.plugs
	all[name] = make(chan struct{})
	p.plugs <- all
	card := plugCard()
	p.events <- pcscd.Event{Reader: name, Present: true, Card: &card}
}

// unplug takes a reader away. What its card runs never answers.
func (p *plugs) unplug(name string) {
	all := <-p.plugs
	close(all[name])
	delete(all, name)
	p.plugs <- all
	p.events <- pcscd.Event{Reader: name}
}

func (p *plugs) Watch(ctx context.Context, emit func(pcscd.Event)) error {
	emit(pcscd.Event{})
	for {
		select {
		case e := <-p.events:
			emit(e)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (p *plugs) Connect(_ context.Context, reader string, _ cardbroker.ShareMode) (pcscd.Card, error) {
	all := <-p.plugs
	gone := all[reader]
	p.plugs <- all
	if gone == nil {
		return nil, cardbroker.Errorf(cardbroker.ReaderUnknown, "unplugged")
	}
	return plugged{p.chain, gone}, nil
}

// plugged is a card that echoes, and takes two seconds for the command delay.
type plugged struct {
	chain *chain
	gone  chan struct{}
}

func (c plugged) there() error {
	select {
	case <-c.gone:
		return cardbroker.Errorf(cardbroker.CardRemoved, "unplugged")
	default:
		return nil
	}
}

func (c plugged) Transmit(_ context.Context, dst, command []byte) ([]byte, error) {
	if err := c.there(); err != nil {
		return dst, err
	}
	c.chain.tell.Write([]byte{1})
	if command[1] == delay[1] {
		select {
		case <-time.After(2 * time.Second):
		case <-c.gone:
			return dst, cardbroker.Errorf(cardbroker.Indeterminate, "unplugged meanwhile")
		}
	}
	return append(dst, 0x90, 0x00), nil
}

func (c plugged) Info() cardbroker.Card                                    { return plugCard() }
func (c plugged) Begin(context.Context) error                              { return c.there() }
func (c plugged) End(context.Context, cardbroker.Disposition) error        { return c.there() }
func (c plugged) Disconnect(context.Context, cardbroker.Disposition) error { return nil }
func (c plugged) Attribute(context.Context, uint32) ([]byte, error)        { return nil, errUnsupported() }
func (c plugged) Control(_ context.Context, dst []byte, _ uint32, _ []byte) ([]byte, error) {
	return dst, errUnsupported()
}

func errUnsupported() error { return cardbroker.Errorf(cardbroker.Unsupported, "not here") }

// newPluggedChain makes a chain whose PC/SC service is one of ours, with a reader that was plugged in while all ran.
func newPluggedChain(t *testing.T) (*chain, *plugs) {
	t.Helper()
	h := newHostFor(t, 2*limit)
	us := &stage.Person{Name: "us", Home: h.Path("us")}
	if err := os.Mkdir(us.Home, 0o700); err != nil {
		t.Fatal(err)
	}
	c := &chain{host: h, alice: us, events: make(chan api.ReaderEvent, 1000), name: "Plug 00 00"}
	c.tells()
	listener, err := pcscd.Listen(us.Home + "/pcscd")
	if err != nil {
		t.Fatal(err)
	}
	p := newPlugs(c)
	service := pcscd.New(pcscd.Config{Source: p, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	ended := begin(func() error { return service.Serve(ctx, listener) })
	t.Cleanup(func() {
		cancel()
		if err := await(t, "Serve", ended); err != nil {
			t.Errorf("Serve() = %v", err)
		}
	})
	h.start()
	_, c.agent = h.enrol(us, us.Home+"/pcscd")
	if readers := c.readers(); len(readers) != 0 {
		t.Fatalf("before there is a reader the readers are %+v", readers)
	}
	c.watch("") // there will be one
	p.plug(c.name)
	c.sees(api.EventReaderAdded, api.EventCardIn)
	c.id = c.readers()[0].ID
	return c, p
}

// A reader that is unplugged at each moment, for each kind of client. It was plugged in after all had started.
func TestUnplugged(t *testing.T) {
	t.Parallel()
	for kind, newCaller := range map[int]func(*chain) caller{bySession: newTunnelCaller, byCommand: newCommandCaller, byProgram: newServeCaller} {
		t.Run([]string{"tunnel", "command", "program"}[kind], func(t *testing.T) {
			c, p := newPluggedChain(t)
			c.faults(kind, newCaller(c), fault{
				name: "unplugged", strike: func(c *chain) { p.unplug(c.name) }, heal: func(c *chain) { p.plug(c.name) },
				events: []string{api.EventReaderRemoved}, healed: []string{api.EventReaderAdded, api.EventCardIn},
				connect:   words{"reader_unknown", "4 reader_unknown", "E_NO_SMARTCARD"},
				connected: removed, transmit: indeterminate, next: after, held: removed, end: removed,
			})
		})
	}
}

// A back end that watches hears of an offered reader that is unplugged, and plugged in again.
func TestHotPlugAtTheBackEnd(t *testing.T) {
	t.Parallel()
	c, p := newPluggedChain(t)
	next := c.follow(c.Command(nil, "cardbroker", "reader", "watch", "--json", "--broker", c.ready.Backend, "--ca", c.Path("door.pem"),
		"--token-file", c.Path("token")), jsonLine)
	ticket := c.offered()
	wantEvents(t, next, api.EventReaderAdded, api.EventCardIn)
	p.unplug(c.name)
	wantEvents(t, next, api.EventCardOut)
	p.plug(c.name)
	wantEvents(t, next, api.EventCardIn)
	c.apdu(0, ticket, "80EE0000020102")
	wantEvents(t, next, api.EventReaderRemoved)
}
