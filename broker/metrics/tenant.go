// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"cmp"
	"net"
	"slices"
	"sync/atomic"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/peer"
)

// tenant counts what the back ends of one tenant do.
type tenant struct {
	name                    string
	open                    *atomic.Int64
	opened, resumed         *atomic.Int64
	commands, indeterminate *atomic.Int64
	from, to                direction // the back end
	network, queue, card    times
}

// direction counts one direction of tunnels.
type direction struct{ frames, bytes *atomic.Int64 }

func (d direction) count(message []byte) {
	d.frames.Add(1)
	d.bytes.Add(int64(len(message)))
}

// observe looks at the round trip of a connection to a back end.
func (t *tenant) observe(conn net.Conn) {
	if rtt, ok := peer.RoundTrip(conn); ok {
		t.network.observe(rtt)
	}
}

// families are what tenants' lines belong to.
type families struct {
	open, opened, refused, frames, bytes *numbers
	commands, forbidden, indeterminate   *numbers
	ignored                              *numbers
}

func newFamilies() families {
	counter := func(name, help string, labels ...string) *numbers {
		return newNumbers(name, isCounter, help, append([]string{"tenant"}, labels...)...)
	}
	f := families{
		open:          newNumbers("cardbroker_tunnels", isGauge, "Tunnels that are open.", "tenant"),
		opened:        counter("cardbroker_tunnels_opened_total", "Tunnels that were opened: new ones, and connections over which a lease was resumed.", "kind"),
		refused:       counter("cardbroker_tunnels_refused_total", "Tunnels that a back end asked for and did not get.", "reason"),
		frames:        counter("cardbroker_tunnel_frames_total", "Frames that were passed on.", "direction"),
		bytes:         counter("cardbroker_tunnel_bytes_total", "Bytes of the frames that were passed on.", "direction"),
		commands:      counter("cardbroker_commands_total", "Commands that a card has answered."),
		forbidden:     counter("cardbroker_commands_refused_total", "Commands that an agent did not let pass.", "rule"),
		indeterminate: counter("cardbroker_commands_indeterminate_total", "Commands of which nobody knows whether the card has run them."),
		ignored: newNumbers("cardbroker_usage_ignored_total", isCounter,
			"Reports of agents that were not counted: of no tunnel of theirs, or of more than can be."),
	}
	f.ignored.with()
	return f
}

// newTenant returns a tenant's counters.
func (f families) newTenant(name string) *tenant {
	to := func(word string) direction { return direction{f.frames.with(name, word), f.bytes.with(name, word)} }
	f.forbidden.with(name, string(cardbroker.RuleFirewall))
	return &tenant{
		name:          name,
		open:          f.open.with(name),
		opened:        f.opened.with(name, "new"),
		resumed:       f.opened.with(name, "resumed"),
		commands:      f.commands.with(name),
		indeterminate: f.indeterminate.with(name),
		from:          to("from_backend"),
		to:            to("to_backend"),
	}
}

// text writes the lines of all tenants.
func (t *table) text(out *text) {
	f := t.families
	for _, n := range []*numbers{f.indeterminate, f.forbidden, f.commands, f.bytes, f.frames, f.open, f.opened, f.refused, f.ignored} {
		out.numbers(n)
	}
	tenants := t.all()
	slices.SortFunc(tenants, func(a, b *tenant) int { return cmp.Compare(a.name, b.name) })
	for _, h := range []struct {
		name, help string
		of         func(*tenant) *times
	}{
		{"cardbroker_command_card_seconds", "Time of commands in the card, and its reader.", func(t *tenant) *times { return &t.card }},
		{"cardbroker_command_queue_seconds", "Time of commands between agent and card: waiting, and on the way.", func(t *tenant) *times { return &t.queue }},
		{"cardbroker_tunnel_network_seconds", "Round trip between broker and back end, as the kernel smooths it.", func(t *tenant) *times { return &t.network }},
	} {
		family := family{name: h.name, kind: isHistogram, help: h.help, labels: []string{"tenant"}}
		if len(tenants) > 0 {
			out.begin(family)
		}
		for _, tenant := range tenants {
			out.histogram(family, values{tenant.name}, h.of(tenant))
		}
	}
}
