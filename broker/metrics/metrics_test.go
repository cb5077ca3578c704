// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package metrics_test

import (
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/broker/metrics"
)

const (
	alices cardbroker.Route = "00000000000000a1"
	bobs   cardbroker.Route = "00000000000000b0"
)

func newMetrics() *metrics.Metrics {
	return metrics.New(metrics.Config{
		Version: "1.2.3",
		Agents: func() []cardbroker.Agent {
			return []cardbroker.Agent{{State: cardbroker.Registered}, {State: cardbroker.Registered}, {State: cardbroker.Stale}}
		},
		Links: func() int { return 2 },
	})
}

// leg is a back end's leg with one frame.
type leg struct {
	net.Conn
	frame []byte
}

func (l *leg) Next() ([]byte, error) {
	if l.frame == nil {
		return nil, errors.New("over")
	}
	frame := l.frame
	l.frame = nil
	return frame, nil
}
func (l *leg) Write(message []byte) error {
	if len(message) == 0 {
		return errors.New("full")
	}
	return nil
}
func (l *leg) Shutdown(error)    {}
func (l *leg) Close() error      { return nil }
func (l *leg) NetConn() net.Conn { return l.Conn }

func open(m *metrics.Metrics, tenant cardbroker.Tenant, route cardbroker.Route) *metrics.Tunnel {
	return m.Open(api.TunnelOpen{Tenant: tenant}, route, &leg{frame: make([]byte, 30)})
}

// usage is a report of commands that each took 30 ms.
func usage(tenant cardbroker.Tenant, commands int) api.Usage {
	u := api.Usage{Tenant: tenant, Commands: uint32(commands)}
	for range commands {
		u.Queue.Add(40 * time.Microsecond)
		u.Card.Add(30 * time.Millisecond)
	}
	return u
}

// blocks cuts a text before each line that says a type; help is left out.
func blocks(text string) (blocks []string) {
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, "# HELP "):
		case strings.HasPrefix(line, "# TYPE "):
			blocks = append(blocks, line)
		default:
			blocks[len(blocks)-1] += line
		}
	}
	return blocks
}

// has fails unless the metrics have these lines, and no other lines of these names.
func has(t *testing.T, m *metrics.Metrics, lines string) {
	t.Helper()
	served := blocks(m.Text())
	for _, want := range blocks(lines) {
		if !slices.Contains(served, want) {
			t.Errorf("the metrics are\n%s, want\n%s", m.Text(), want)
		}
	}
}

// count is how many lines of a name there are.
func count(m *metrics.Metrics, name string) int { return strings.Count(m.Text(), "\n"+name+"{") }

func TestTunnels(t *testing.T) {
	m := newMetrics()
	tunnel := open(m, "acme", alices)
	tunnel.Next()
	tunnel.Next()
	tunnel.Write(make([]byte, 100))
	tunnel.Write(make([]byte, 10))
	tunnel.Write(nil)
	m.Open(api.TunnelOpen{Tenant: "acme", Ticket: cardbroker.Ticket{Route: alices, Secret: cardbroker.RandomSecret(), Resume: true}.Reveal()}, alices, &leg{}).Ended()
	m.TunnelRefused("acme", cardbroker.Errorf(cardbroker.ReaderBusy, "no"))
	m.TunnelRefused("acme", api.ErrorBody{Reason: "made_up_by_an_agent"}.Error())
	m.TunnelRefused("acme", errors.New("a bug"))
	has(t, m, `# TYPE cardbroker_tunnel_bytes_total counter
cardbroker_tunnel_bytes_total{tenant="acme",direction="from_backend"} 30
cardbroker_tunnel_bytes_total{tenant="acme",direction="to_backend"} 110
# TYPE cardbroker_tunnel_frames_total counter
cardbroker_tunnel_frames_total{tenant="acme",direction="from_backend"} 1
cardbroker_tunnel_frames_total{tenant="acme",direction="to_backend"} 2
# TYPE cardbroker_tunnels gauge
cardbroker_tunnels{tenant="acme"} 1
# TYPE cardbroker_tunnels_opened_total counter
cardbroker_tunnels_opened_total{tenant="acme",kind="new"} 1
cardbroker_tunnels_opened_total{tenant="acme",kind="resumed"} 1
# TYPE cardbroker_tunnels_refused_total counter
cardbroker_tunnels_refused_total{tenant="acme",reason="internal"} 1
cardbroker_tunnels_refused_total{tenant="acme",reason="other"} 1
cardbroker_tunnels_refused_total{tenant="acme",reason="reader_busy"} 1
`)
	tunnel.Ended()
	has(t, m, "# TYPE cardbroker_tunnels gauge\ncardbroker_tunnels{tenant=\"acme\"} 0\n")
}

// ignored is how often an agent's word was not taken.
func ignored(t *testing.T, m *metrics.Metrics, n int) {
	t.Helper()
	has(t, m, fmt.Sprintf("# TYPE cardbroker_usage_ignored_total counter\ncardbroker_usage_ignored_total %d\n", n))
}

// commands is how many commands count for acme; for the others none does.
func commands(t *testing.T, m *metrics.Metrics, n int, others ...string) {
	t.Helper()
	lines := fmt.Sprintf("# TYPE cardbroker_commands_total counter\ncardbroker_commands_total{tenant=\"acme\"} %d\n", n)
	for _, other := range others {
		lines += fmt.Sprintf("cardbroker_commands_total{tenant=%q} 0\n", other)
	}
	has(t, m, lines)
}

// What an agent reports counts for the tenants that have a tunnel to it, while they do and for a minute after.
func TestUsage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMetrics()
		m.Used(alices, usage("acme", 1))
		ignored(t, m, 1)
		first, second := open(m, "acme", alices), open(m, "acme", alices)
		u := usage("acme", 3)
		u.Indeterminate = 1
		u.Refused = map[cardbroker.Rule]uint32{cardbroker.RuleFirewall: 2, "made_up": 4, "another": 5}
		m.Used(alices, u)
		has(t, m, `# TYPE cardbroker_commands_indeterminate_total counter
cardbroker_commands_indeterminate_total{tenant="acme"} 1
# TYPE cardbroker_commands_refused_total counter
cardbroker_commands_refused_total{tenant="acme",rule="firewall"} 2
cardbroker_commands_refused_total{tenant="acme",rule="other"} 9
`)
		first.Ended()
		time.Sleep(time.Hour)
		m.Used(alices, usage("acme", 1)) // of the second
		second.Ended()
		time.Sleep(59 * time.Second)
		m.Used(alices, usage("acme", 1)) // it comes late
		commands(t, m, 5)
		time.Sleep(2 * time.Second)
		m.Used(alices, usage("acme", 1))
		ignored(t, m, 2)
		commands(t, m, 5)
	})
}

// A hostile agent counts for nobody else, and for its own tenants no more than a card could do.
func TestHostileUsage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMetrics()
		open(m, "acme", alices)
		open(m, "rival", bobs)
		few := func() api.Usage { return usage("acme", 2) }
		for name, u := range map[string]api.Usage{
			"of another's tunnel":       usage("rival", 1),
			"of no tenant":              usage("", 1),
			"of a tenant that is none":  usage("nobody", 1),
			"more than a card can":      usage("acme", 30_000),
			"the most that can be said": {Tenant: "acme", Commands: math.MaxUint32},
			"commands without times":    {Tenant: "acme", Commands: 1},
			"times without commands":    func() api.Usage { u := few(); u.Commands = 0; return u }(),
			"times that do not add up":  func() api.Usage { u := few(); u.Card.Counts[3]++; return u }(),
			"a very long time":          func() api.Usage { u := few(); u.Queue.Micros = math.MaxUint64; return u }(),
			"refusals without end":      func() api.Usage { u := few(); u.Refused = map[cardbroker.Rule]uint32{"a": math.MaxUint32}; return u }(),
			"indeterminate without end": func() api.Usage { u := few(); u.Indeterminate = math.MaxUint32; return u }(),
		} {
			m.Used(alices, u)
			commands(t, m, 0, "rival")
			if t.Failed() {
				t.Fatalf("it counts: %s", name)
			}
		}
		ignored(t, m, 11)
		for range 10_000 { // a flood
			m.Used(alices, usage("acme", 10))
		}
		commands(t, m, 1000, "rival")
		time.Sleep(time.Second)
		for range 10_000 {
			m.Used(alices, usage("acme", 10))
		}
		commands(t, m, 21_000, "rival")
	})
}

// However many tenants come, and whatever agents say, there is a bound to what is kept.
func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMetrics()
		for i := range 3000 {
			open(m, cardbroker.Tenant(fmt.Sprint("tenant-", i)), alices).Ended()
			m.Said(cardbroker.EventName(fmt.Sprint("event-", i)))
			m.LookedUp(&cardbroker.Error{Reason: cardbroker.Reason(fmt.Sprint("reason-", i))})
		}
		for name, want := range map[string]int{"cardbroker_tunnels": 1001, "cardbroker_events_total": 1, "cardbroker_lookups_total": 5} {
			if n := count(m, name); n != want {
				t.Errorf("%s has %d lines, want %d", name, n, want)
			}
		}
		open(m, "one-more", alices)
		m.Used(alices, usage("one-more", 1))
		if n := count(m, "cardbroker_commands_total"); n != 1001 {
			t.Errorf("%d tenants", n)
		}
	})
}

func TestBroker(t *testing.T) {
	m := newMetrics()
	m.LookedUp(nil)
	m.LookedUp(cardbroker.Errorf(cardbroker.NoAgent, "no"))
	m.LookedUp(errors.New("a bug"))
	m.CallerRefused(cardbroker.RuleToken)
	m.CallerRefused("")
	m.Recorded(cardbroker.EventAgentRegistered)
	m.Said(cardbroker.EventPINVerified)
	m.Said(cardbroker.EventAgentRegistered) // which is not an agent's to say
	m.Committed(700*time.Microsecond, nil)
	m.Committed(2*time.Hour, errors.New("the disk"))
	ended := m.Forwarded()
	m.Forwarded()()
	has(t, m, `# TYPE cardbroker_agents gauge
cardbroker_agents{state="REGISTERED"} 2
cardbroker_agents{state="RESERVED"} 0
cardbroker_agents{state="STALE"} 1
# TYPE cardbroker_callers_refused_total counter
cardbroker_callers_refused_total{rule="other"} 1
cardbroker_callers_refused_total{rule="token"} 1
# TYPE cardbroker_events_total counter
cardbroker_events_total{event="agent_registered"} 1
cardbroker_events_total{event="other"} 1
cardbroker_events_total{event="pin_verified"} 1
# TYPE cardbroker_forwards gauge
cardbroker_forwards 1
# TYPE cardbroker_forwards_total counter
cardbroker_forwards_total 2
# TYPE cardbroker_links gauge
cardbroker_links 2
# TYPE cardbroker_lookups_total counter
cardbroker_lookups_total{result="agent_restarting"} 0
cardbroker_lookups_total{result="found"} 1
cardbroker_lookups_total{result="no_agent"} 1
cardbroker_lookups_total{result="other"} 1
cardbroker_lookups_total{result="session_ambiguous"} 0
# TYPE cardbroker_registry_commit_failures_total counter
cardbroker_registry_commit_failures_total 1
`)
	ended()
	has(t, m, "# TYPE cardbroker_forwards gauge\ncardbroker_forwards 0\n")
}

// What a frame's count costs, in each direction.
func BenchmarkTunnel(b *testing.B) {
	b.ReportAllocs()
	l := &leg{}
	t := newMetrics().Open(api.TunnelOpen{Tenant: "acme"}, alices, l)
	frame := make([]byte, 300)
	for b.Loop() {
		l.frame = frame
		t.Next()
		t.Write(frame)
	}
}
