// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package virtualreader

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/cardtest"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/journal"
	"github.com/cardbroker/cardbroker/virtualreader/relay"
	"github.com/cardbroker/cardbroker/virtualreader/script"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// bed is a broker's relay and an agent's holder of a card that counts, in a bubble. Both legs are WebSockets.
type bed struct {
	t       testing.TB
	ctx     context.Context
	reader  *cardtest.Reader
	leases  *cardend.Leases
	holder  *cardend.Holder
	running sync.WaitGroup
	door    pipes             // back ends come in here
	agent   pipes             // and legs to the agent go out here
	arrived chan *socket.Conn // they arrive there

	crossings sync.Mutex // of what follows
	cut       func(c crossing) (backend, agent bool)
	last      uint64 // seq of the frame that the back end sent last
}

// crossing is a moment in the relay: a frame has come from one leg, or was passed on to the other.
type crossing struct {
	kind   wire.Type
	seq    uint64 // an event's: of the frame before
	passed bool
}

// onBed runs f with a bed in a bubble of its own time; cut says which legs are cut when.
func onBed(t *testing.T, cut func(c crossing) (backend, agent bool), f func(t *testing.T, b *bed)) {
	folder, err := journal.OpenFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		b := &bed{t: t, ctx: ctx, reader: cardtest.NewReader(), leases: cardend.NewLeases(), cut: cut,
			door: make(pipes), agent: make(pipes), arrived: make(chan *socket.Conn, 1)}
		b.holder = cardend.New(b.reader, b.leases)
		b.holder.Keep(folder)
		broker := http.Server{Handler: b}
		agent := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if conn, err := tunnels.Upgrade(w, r); err == nil {
				b.arrived <- conn
			}
		})}
		b.running.Go(func() { b.leases.Run(ctx) })
		b.running.Go(func() { broker.Serve(b.door) })
		b.running.Go(func() { agent.Serve(b.agent) })
		f(t, b)
		cancel()
		broker.Close()
		agent.Close()
		b.running.Wait()
		time.Sleep(2 * time.Second) // closed links drain
	})
}

// ServeHTTP is the broker's door, and what the agent does when a back end comes in.
func (b *bed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	serve, err := b.admit(r)
	if err != nil {
		api.WriteError(w, err)
		return
	}
	backend, err := tunnels.Upgrade(w, r)
	if err != nil {
		return
	}
	var raw net.Conn
	agent, _, err := tunnels.Dial(b.ctx, socket.Dial{URL: "ws://agent/", Net: func(ctx context.Context) (net.Conn, error) {
		var err error
		raw, err = b.agent.dial(ctx)
		return raw, err
	}})
	if err != nil {
		b.t.Errorf("no leg to the agent: %v", err)
		backend.Close()
		return
	}
	arrived := <-b.arrived
	legs := &legs{bed: b, backend: r.Context().Value(http.LocalAddrContextKey).(linkAddr).link, agent: raw}
	b.running.Go(func() { serve(arrived) })
	b.running.Go(func() { relay.Splice(b.ctx, leg{backend, legs}, leg{agent, legs}) })
}

// admit returns what the agent does with a leg.
func (b *bed) admit(r *http.Request) (func(*socket.Conn), error) {
	text := r.Header.Get("Cardbroker-Ticket")
	if text == "first" {
		tunnel := b.reader.Tunnel("alpha")
		tunnel.Route = "0123456789abcdef"
		return func(conn *socket.Conn) { b.holder.Serve(b.ctx, conn, tunnel) }, nil
	}
	ticket, err := cardbroker.ParseTicket(text)
	if err != nil || !ticket.Resume {
		b.t.Errorf("the resume token is no ticket: %v", err)
		return nil, cardbroker.Refusef(cardbroker.Unauthenticated, cardbroker.RuleTicket, "the ticket is not valid")
	}
	taken, err := b.leases.Take(b.ctx, ticket.Secret, "alpha")
	if err != nil {
		return nil, err
	}
	return func(conn *socket.Conn) { taken.Attach(b.ctx, conn) }, nil
}

// legs are the two connections of a spliced tunnel.
type legs struct {
	bed            *bed
	backend, agent net.Conn
}

// leg is one of them, which cuts them when a frame crosses.
type leg struct {
	*socket.Conn
	legs *legs
}

func (l leg) Next() ([]byte, error) {
	m, err := l.Conn.Next()
	if err == nil {
		err = l.legs.cross(m, false)
	}
	return m, err
}

func (l leg) Write(m []byte) error {
	if err := l.Conn.Write(m); err != nil {
		return err
	}
	return l.legs.cross(m, true)
}

func (l *legs) cross(frame []byte, passed bool) error {
	head, _, err := wire.Parse(frame)
	if err != nil {
		return err
	}
	b := l.bed
	b.crossings.Lock()
	defer b.crossings.Unlock()
	if head.Seq != 0 {
		b.last = head.Seq
	}
	if b.cut == nil {
		return nil
	}
	backend, agent := b.cut(crossing{kind: head.Type, seq: b.last, passed: passed})
	if backend {
		l.backend.Close()
	}
	if agent {
		l.agent.Close()
	}
	if backend || agent {
		return cardbroker.Errorf(cardbroker.Unavailable, "the connection was cut")
	}
	return nil
}

// tunnel opens a tunnel.
func (b *bed) tunnel(ctx context.Context) (*Tunnel, error) {
	dial := func(ctx context.Context, to target) (*socket.Conn, error) {
		header := http.Header{"Cardbroker-Ticket": {to.ticket}}
		conn, response, err := tunnels.Dial(ctx, socket.Dial{URL: "ws://broker" + to.path, Header: header, Net: b.door.dial})
		if response != nil {
			return nil, api.ReadError(response)
		}
		return conn, err
	}
	conn, err := dial(ctx, target{path: "/", ticket: "first"})
	if err != nil {
		return nil, err
	}
	hello, _ := Options{}.hello()
	return newTunnel(ctx, conn, hello, dial, []string{"broker"})
}

// script runs 200 commands and returns how many were answered wrongly or not at all.
func (b *bed) script() (indeterminate, wrong int) {
	ctx := b.t.Context()
	tunnel, err := b.tunnel(ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	defer tunnel.Close()
	for n := range 200 {
		if n%50 == 0 {
			if err := tunnel.Begin(ctx); err != nil {
				b.t.Errorf("Begin = %v", err)
			}
			if _, err := tunnel.Renew(ctx, 10*time.Minute); err != nil {
				b.t.Errorf("Renew = %v", err)
			}
		}
		a, err := tunnel.Transmit(ctx, command(n))
		switch {
		case cardbroker.ReasonOf(err) == cardbroker.Indeterminate:
			indeterminate++
			b.t.Logf("command %d: %v", n, err)
		case err != nil || !bytes.Equal(a.Response, append(command(n), 0x90, 0)):
			b.t.Errorf("command %d: % x, %v", n, a.Response, err)
			wrong++
		}
		if tunnel.Err() != nil {
			return indeterminate, wrong
		}
	}
	b.t.Logf("resumed %d times", tunnel.Resumed())
	return indeterminate, wrong
}

// TestExactlyOnce cuts both legs of a tunnel, and each of them, whenever a frame crosses the relay for the first time, before it is
// passed on and after: each of 200 commands reaches the card once, and is answered.
func TestExactlyOnce(t *testing.T) {
	variants := [3][2]bool{{true, true}, {true, false}, {false, true}}
	for shift := range variants {
		cuts := 0
		seen := map[crossing]bool{}
		cut := func(c crossing) (backend, agent bool) {
			if c.kind == wire.TypeHello || c.kind == wire.TypeWelcome && !c.passed || c.kind == wire.TypePing || c.kind == wire.TypePong || seen[c] {
				return false, false // until Welcome is there nothing can be taken up again
			}
			seen[c] = true
			cuts++
			v := variants[(shift+cuts)%3]
			return v[0], v[1]
		}
		onBed(t, cut, func(t *testing.T, b *bed) {
			indeterminate, wrong := b.script()
			if n := b.reader.Executed(); n != 200 || indeterminate != 0 || wrong != 0 {
				t.Errorf("the card has executed %d commands, %d are indeterminate, %d wrong, want 200, 0 and 0", n, indeterminate, wrong)
			}
		})
		t.Logf("%d cuts", cuts)
	}
}

// TestScriptExactlyOnce cuts both legs whenever a frame of a script of 200 commands crosses the relay. Commands and answers are
// longer than a frame holds.
func TestScriptExactlyOnce(t *testing.T) {
	var s script.Script
	for n := range 200 {
		data := append(bytes.Repeat([]byte{byte(n)}, 1000), command(n)...)
		long := append([]byte{0x80, 0xEE, 0, 0, 0, byte(len(data) >> 8), byte(len(data))}, data...)
		s.Steps = append(s.Steps, script.Step{Command: long})
	}
	kinds := map[wire.Type]int{}
	seen := map[crossing]int{}
	cut := func(c crossing) (backend, agent bool) {
		if c.kind != wire.TypeScript && c.kind != wire.TypeScriptResult && c.kind != wire.TypeProgress && c.kind != wire.TypeResume && c.kind != wire.TypeResumed {
			return false, false
		}
		if seen[c]++; seen[c] > 2 { // a script's frames look alike: each of the first two
			return false, false
		}
		kinds[c.kind]++
		return true, true
	}
	onBed(t, cut, func(t *testing.T, b *bed) {
		tunnel, err := b.tunnel(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer tunnel.Close()
		result, err := tunnel.Run(t.Context(), s, nil)
		if err != nil || result.Outcome != script.OK || len(result.Steps) != 200 {
			t.Fatalf("Run = %v after %d steps, %v, want ok after 200", result.Outcome, len(result.Steps), err)
		}
		for n, step := range result.Steps {
			if !bytes.Equal(step.Data, s.Steps[n].Command) {
				t.Errorf("step %d is answered with %d bytes that are not its own", n, len(step.Data))
			}
		}
		if n := b.reader.Executed(); n != 200 {
			t.Errorf("the card has executed %d commands, want 200", n)
		}
	})
	t.Logf("cuts: %v", kinds)
	if kinds[wire.TypeScript] < 4 || kinds[wire.TypeScriptResult] < 4 {
		t.Errorf("%v cuts, want 4 or more at a script's frames and at its result's", kinds)
	}
}
