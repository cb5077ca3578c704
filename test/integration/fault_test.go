// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/test/pcscbed"
)

// fault is what happens to a card, its reader or its service, and what each client is to hear of it.
type fault struct {
	name   string
	ready  func(c *chain) // before anything else
	strike func(c *chain)
	heal   func(c *chain) // puts a card in that works
	events []string       // at who watches the session
	healed []string       // likewise, after heal

	connect   words // who connects after it
	connected words // who was connected, and then sends a command
	transmit  words // whose command the card had
	next      words // his next command
	held      words // who holds a transaction, and then sends a command
	end       words // the end of a transaction that was begun before
}

// words are what the clients say: the Go client, the command line and PC/SC programs. A bar stands between alternatives.
type words [3]string

const (
	bySession = iota
	byCommand
	byProgram
)

var (
	all           = words{"ok", "ok", "ok"}
	removed       = words{"card_removed", "", "W_REMOVED_CARD"}
	reset         = words{"card_reset", "5 card_reset", "W_RESET_CARD"}
	indeterminate = words{"indeterminate", "6 indeterminate", "F_COMM_ERROR"}
	after         = words{"card_reset", "", "W_REMOVED_CARD|W_RESET_CARD"} // the latter before the program hears of the rest
)

func faults() []fault {
	insert := func(c *chain) { c.insert(pcscbed.Card{}) }
	restart := func(c *chain) {
		if err := c.bed.StartService(c.Context()); err != nil {
			c.t.Fatal(err)
		}
		c.insert(pcscbed.Card{})
	}
	return []fault{
		{
			name: "removed", strike: (*chain).remove, heal: insert,
			events: []string{api.EventCardOut}, healed: []string{api.EventCardIn},
			connect: words{"card_absent", "4 card_absent", "E_NO_SMARTCARD"}, connected: removed, transmit: indeterminate, next: after, held: removed, end: removed,
		},
		{
			name: "replaced", strike: func(c *chain) { c.remove(); c.insert(pcscbed.Card{ATR: otherATR}) }, heal: func(*chain) {},
			events:  []string{api.EventCardOut, api.EventCardIn},
			connect: all, connected: removed, transmit: indeterminate, next: after, held: removed, end: removed,
		},
		{
			name: "mute", strike: func(c *chain) { c.remove(); c.insert(pcscbed.Card{Mute: true}) },
			heal:   func(c *chain) { c.remove(); c.insert(pcscbed.Card{}) },
			events: []string{api.EventCardOut, api.EventCardIn}, healed: []string{api.EventCardOut, api.EventCardIn},
			connect: words{"card_mute", "5 card_mute", "W_UNRESPONSIVE_CARD"}, connected: removed, transmit: indeterminate, next: after, held: removed, end: removed,
		},
		{
			name: "reset", ready: (*chain).approach, strike: (*chain).reset, heal: (*chain).depart,
			connect: all, connected: reset, transmit: all, next: reset, held: all, end: all,
		},
		{
			name: "killed", strike: func(c *chain) { c.bed.Kill() }, heal: restart,
			events: []string{api.EventReaderRemoved}, healed: []string{api.EventReaderAdded, api.EventCardIn},
			connect: words{"reader_unknown", "4 reader_unknown", "E_NO_SMARTCARD"}, connected: removed, transmit: indeterminate, next: after, held: removed, end: removed,
		},
		{
			name: "restarted", strike: func(c *chain) { c.bed.Kill(); restart(c) }, heal: func(*chain) {},
			events:  []string{api.EventReaderRemoved, api.EventReaderAdded, api.EventCardIn},
			connect: all, connected: removed, transmit: indeterminate, next: after, held: removed, end: removed,
		},
		{
			name: "taken by another", strike: (*chain).seize, heal: (*chain).depart,
			connect: words{"reader_busy", "7 reader_busy", "E_SHARING_VIOLATION"},
		},
	}
}

// seize has another program take the card for itself.
func (c *chain) seize() {
	c.awaitOther(c.others("forget")) // the service that it knew may be another by now
	c.awaitOther(c.others("connect", c.name, "exclusive"))
}

// approach has another program connect to the card, reset has it reset the card, and depart leave it. The service keeps it
// waiting while a client has a transaction.
func (c *chain) approach() { c.awaitOther(c.others("connect", c.name)) }
func (c *chain) reset() {
	c.waiting = c.others("reconnect", "reset")
	if !c.held {
		c.awaitOther(c.waiting)
	}
}
func (c *chain) depart() {
	if c.held {
		c.awaitOther(c.waiting)
	}
	c.awaitOther(c.others("disconnect"))
}

// others has the other program make a call.
func (c *chain) others(words ...string) <-chan string {
	return begin(func() string { code, _ := c.other.call(words...); return words[0] + " = " + code })
}

func (c *chain) awaitOther(ended <-chan string) {
	c.t.Helper()
	if got := await(c.t, "another program", ended); !strings.HasSuffix(got, " = ok") {
		c.t.Errorf("another program's %s", got)
	}
}

// The faults of cards and of the PC/SC service, at each moment, for each kind of client.
func TestFaultsOfTunnels(t *testing.T)  { testFaults(t, bySession, newTunnelCaller) }
func TestFaultsOfCommands(t *testing.T) { testFaults(t, byCommand, newCommandCaller) }
func TestFaultsOfPrograms(t *testing.T) { testFaults(t, byProgram, newServeCaller) }

func testFaults(t *testing.T, kind int, newCaller func(*chain) caller) {
	t.Parallel() // it mostly waits for cards that take their time
	c := newChain(t)
	c.faults(kind, newCaller(c), faults()...)
}

// faults has each fault come at each moment.
func (c *chain) faults(kind int, client caller, faults ...fault) {
	for _, f := range faults {
		for _, moment := range []struct {
			name string
			test func(*chain, caller, fault, int)
		}{
			{"connect", duringConnect}, {"connects", whileConnecting}, {"connected", whileConnected}, {"transmit", duringTransmit},
			{"transaction", duringTransaction}, {"script", duringScript},
		} {
			if kind == byCommand && slices.Contains([]string{"connects", "connected", "transaction"}, moment.name) {
				continue // a run is all that there is
			}
			if f.connected == (words{}) && moment.name != "connect" {
				continue // it comes before everybody else
			}
			outer := c.t
			outer.Run(f.name+" during "+moment.name, func(t *testing.T) {
				c.t = t
				defer func() { c.t = outer }()
				client.hears()
				if f.ready != nil {
					f.ready(c)
				}
				c.commands()
				c.held = false
				moment.test(c, client, f, kind)
				client.hears(f.events...)
				within(t, "the client's end", func() bool { client.leave(); return true })
				f.heal(c)
				c.sees(f.healed...)
				client.hears(f.healed...)
				c.works(client)
			})
		}
	}
}

// want fails unless a call says so.
func (c *chain) want(what string, call func() string, want string) {
	c.t.Helper()
	if got := within(c.t, what, call); !slices.Contains(strings.Split(want, "|"), got) {
		c.t.Errorf("%s = %q, want %q", what, got, want)
	}
}

// works uses the card as if nothing had happened.
func (c *chain) works(client caller) {
	c.t.Helper()
	client.hears()
	c.commands()
	if _, apart := client.(*commandCaller); !apart {
		c.want("the next connect", client.connect, "ok")
	}
	c.want("the next begin", client.begin, "ok")
	c.want("the next command", func() string { return client.transmit(echo) }, "ok")
	c.want("the next end", client.end, "ok")
	client.leave()
	c.awaitCommand()
	if n := c.commands(); n != 0 {
		c.t.Errorf("the card has seen %d commands more than the one", n)
	}
}

func duringConnect(c *chain, client caller, f fault, kind int) {
	f.strike(c)
	c.sees(f.events...)
	got := ""
	for start := time.Now(); time.Since(start) < callLimit; client.leave() {
		if got = within(c.t, "connect", client.connect); got == f.connect[kind] || kind != byProgram {
			break // a PC/SC program hears of it a moment later
		}
	}
	if got != f.connect[kind] {
		c.t.Errorf("connect = %q, want %q", got, f.connect[kind])
	}
}

// whileConnecting has the client connect, send a command and leave again and again meanwhile. Whatever becomes of that, it
// is one of the outcomes that tell what happened.
func whileConnecting(c *chain, client caller, f fault, kind int) {
	stop := make(chan struct{})
	ended := begin(func() map[string]bool {
		seen := map[string]bool{}
		for {
			select {
			case <-stop:
				return seen
			default:
			}
			if got := client.connect(); got != "ok" {
				seen[got] = true
				continue
			}
			if got := client.transmit(echo); got != "ok" {
				seen[got] = true
			}
			client.leave()
		}
	})
	c.awaitCommand()
	f.strike(c)
	c.sees(f.events...)
	close(stop)
	for got := range await(c.t, "connect", ended) {
		if !slices.Contains(passing[kind], got) {
			c.t.Errorf("a call = %q, want one of %q", got, passing[kind])
		}
	}
}

// passing is what a call may say while a card, a reader or a service comes or goes.
var passing = map[int][]string{
	bySession: {"card_absent", "card_removed", "card_reset", "card_mute", "reader_unknown", "unavailable", "indeterminate"},
	byProgram: {"E_NO_SMARTCARD", "W_REMOVED_CARD", "W_RESET_CARD", "W_UNRESPONSIVE_CARD", "E_READER_UNAVAILABLE", "E_UNKNOWN_READER", "F_COMM_ERROR"},
}

func whileConnected(c *chain, client caller, f fault, kind int) {
	c.want("connect", client.connect, "ok")
	f.strike(c)
	c.sees(f.events...)
	c.want("transmit", func() string { return client.transmit(echo) }, f.connected[kind])
	if n := c.commands(); n != 0 {
		c.t.Errorf("the card has seen %d commands, want none", n)
	}
}

func duringTransmit(c *chain, client caller, f fault, kind int) {
	if kind != byCommand {
		c.want("connect", client.connect, "ok")
	}
	ended := begin(func() string { return client.transmit(delay) })
	c.awaitCommand()
	f.strike(c)
	if got := await(c.t, "transmit", ended); got != f.transmit[kind] {
		c.t.Errorf("transmit = %q, want %q", got, f.transmit[kind])
	}
	c.sees(f.events...)
	if kind != byCommand {
		c.want("the next transmit", func() string { return client.transmit(echo) }, f.next[kind])
	}
	if n := c.commands(); n != 0 {
		c.t.Errorf("the card has seen %d commands more, want none", n)
	}
}

func duringTransaction(c *chain, client caller, f fault, kind int) {
	c.want("connect", client.connect, "ok")
	c.want("begin", client.begin, "ok")
	c.held = true
	f.strike(c)
	c.sees(f.events...)
	c.want("transmit", func() string { return client.transmit(echo) }, f.held[kind])
	c.want("end", client.end, f.end[kind])
}

// duringScript has the fault come with the second of three commands: the third is never sent.
func duringScript(c *chain, client caller, f fault, kind int) {
	if kind != byCommand {
		c.want("connect", client.connect, "ok")
	}
	ended := begin(func() string { return client.transmit(echo, delay, echo) })
	c.awaitCommand()
	c.awaitCommand()
	f.strike(c)
	want := f.transmit[kind]
	if f.transmit == all {
		want = f.next[kind]
	}
	if got := await(c.t, "the script", ended); got != want {
		c.t.Errorf("the script = %q, want %q", got, want)
	}
	c.sees(f.events...)
	if n := c.commands(); n != 0 {
		c.t.Errorf("the card has seen %d commands more, want none", n)
	}
}
