// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/test/pcscbed"
	"github.com/cardbroker/cardbroker/virtualreader"
)

// TestAnothersTransaction has another program of alice's keep the card for itself: back ends wait for it, but not for longer
// than they want, and find the card again afterwards. Nobody can end the wait of the sandbox itself.
func TestAnothersTransaction(t *testing.T) {
	t.Parallel()
	c := newChain(t)
	c.approach()
	c.awaitOther(c.others("begin"))
	c.commands()
	command := &commandCaller{chain: c, ticket: c.offered(), flags: []string{"--timeout", "1s"}}
	start := time.Now()
	c.want("reader apdu that waits for a second", func() string { return command.transmit(echo) }, "6 indeterminate")
	if took := time.Since(start); took > callLimit {
		t.Errorf("it took %v", took)
	}
	_, err := c.backEndClient().Open(c.Context(), virtualreader.TicketReader, c.offered(), virtualreader.Options{})
	if cardbroker.ReasonOf(err) != cardbroker.ReaderBusy {
		t.Errorf("Open while the command still waits = %v, want %s", err, cardbroker.ReaderBusy)
	}
	if n := c.commands(); n != 0 {
		t.Errorf("the card has seen %d commands, want none", n)
	}
	c.awaitOther(c.others("end"))
	c.depart()
	c.free()
	c.commands() // it may have run by now, as it was said
	c.works(newTunnelCaller(c))
}

// free waits until no back end has the reader.
func (c *chain) free() {
	c.t.Helper()
	c.until("the reader given back", func() bool { // when the card has answered
		var leases api.Leases
		c.run(c.alice, 0, &leases, "agent", "leases", "--socket", c.socket, "--state", c.alice.Home+"/state")
		return len(leases.Leases) == 0
	})
}

// endLeases has the user end what back ends hold.
func (c *chain) endLeases() {
	c.t.Helper()
	agent := []string{"--socket", c.socket, "--state", c.alice.Home + "/state"}
	var leases api.Leases
	c.run(c.alice, 0, &leases, append([]string{"agent", "leases"}, agent...)...)
	for _, lease := range leases.Leases {
		c.run(c.alice, 0, nil, append([]string{"agent", "leases", "revoke", lease.Tunnel}, agent...)...)
	}
}

// TestImpatient has a back end leave while its command runs: the tunnel is over, and the next one finds the card reset.
func TestImpatient(t *testing.T) {
	t.Parallel()
	c := newChain(t)
	tunnel, err := c.backEndClient().Open(c.Context(), virtualreader.TicketReader, c.offered(), virtualreader.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer tunnel.Close()
	ctx, cancel := context.WithCancel(c.Context())
	ended := begin(func() string { _, err := tunnel.Transmit(ctx, delay); return outcome(err) })
	c.awaitCommand()
	cancel()
	if got := await(t, "Transmit", ended); got != string(cardbroker.Indeterminate) {
		t.Errorf("Transmit = %q, want %s", got, cardbroker.Indeterminate)
	}
	c.free()
	c.works(newTunnelCaller(c))
}

// TestServiceAway has the PC/SC service away for longer than the sandbox waits for it: all are told that it is, and go on
// when it comes back.
func TestServiceAway(t *testing.T) {
	t.Parallel()
	c := newChain(t)
	client := newTunnelCaller(c)
	c.bed.Kill()
	c.sees(api.EventReaderRemoved)
	readers := func() string {
		out, err := c.Run(c.alice, "cardbroker", "agent", "readers", "--socket", c.socket, "--state", c.alice.Home+"/state", "--json")
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(out.Status)
	}
	c.until("that there is no service", func() bool { return within(t, "agent readers", readers) == "4" })
	c.want("connect", client.connect, "unavailable")
	if err := c.bed.StartService(c.Context()); err != nil {
		t.Fatal(err)
	}
	c.insert(pcscbed.Card{})
	start := time.Now()
	c.until("the service again", func() bool { return within(t, "agent readers", readers) == "0" })
	t.Logf("found again after %v", time.Since(start))
	c.until("the card again", func() bool { return within(t, "connect", client.connect) == "ok" })
	c.works(client)
}
