// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package forward

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/loop"
)

// openTimeout is how long an agent may take to bring its leg.
const openTimeout = 10 * time.Second

// Gate knows the connections that wait for their agents' legs. One loop owns them. Make it with [NewGate].
type Gate struct {
	splicer *Splicer
	loop    *loop.Loop[waits]
	state   waits // owned by the loop
}

type waits map[string]*wait // by the connection's id

// wait is a connection that waits for the agent to bring its leg.
type wait struct {
	agent  cardbroker.Agent
	answer chan Leg // capacity 1; nil: the agent has gone
}

// NewGate returns a gate that works once it runs.
func NewGate() *Gate {
	return &Gate{splicer: New(), loop: loop.New[waits](), state: waits{}}
}

// Run owns the gate's state until ctx ends.
func (g *Gate) Run(ctx context.Context) error { return g.loop.Run(ctx, g) }

// Begin returns the state itself: commands check before they change it, and nothing can fail after them.
func (g *Gate) Begin() waits { return g.state }

// Commit has nothing to publish.
func (g *Gate) Commit(context.Context, waits) error { return nil }

// Deadline: nothing is ever due, connections that wait are bounded by who holds them.
func (g *Gate) Deadline() time.Time { return time.Time{} }

// Tick is never called.
func (g *Gate) Tick(waits, time.Time) {}

// Pass tells an agent of a connection, by send, and joins it with the leg that the agent brings, until its end. Errors:
// Unavailable, and nothing was read from the connection.
func (g *Gate) Pass(ctx context.Context, conn *httpserver.Conn, agent cardbroker.Agent, send func(api.FromBroker) error) error {
	caller := conn.Caller()
	f := api.Forward{
		ID:     newID(),
		UID:    api.UID(caller.User),
		SID:    caller.User.SID,
		Client: caller.Client,
		Server: caller.Server,
		PID:    caller.PID,
		Inode:  caller.Inode,
		Cgroup: caller.Cgroup,
		TLS:    conn.Secure(),
	}
	leg, err := g.open(ctx, f.ID, agent, func() error { return send(api.FromBroker{Forward: &f}) })
	if err != nil {
		return err
	}
	g.splicer.Splice(ctx, conn, leg)
	return nil
}

// newID returns 32 hexadecimal digits that nobody can guess.
func newID() string {
	var raw [16]byte
	rand.Read(raw[:])
	return hex.EncodeToString(raw[:])
}

// open tells an agent and waits for its leg.
func (g *Gate) open(ctx context.Context, id string, agent cardbroker.Agent, tell func() error) (Leg, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	answer := make(chan Leg, 1)
	defer g.forget(id, answer) // also what waits although its asker had just left
	err := g.loop.Do(ctx, func(w waits) error {
		w[id] = &wait{agent: agent, answer: answer}
		return nil
	})
	if err == nil {
		err = tell()
	}
	if err != nil {
		return nil, cardbroker.Wrapf(err, cardbroker.Unavailable, "the agent cannot be told of the connection")
	}
	select {
	case leg := <-answer:
		if leg == nil {
			return nil, cardbroker.Errorf(cardbroker.Unavailable, "the agent is gone")
		}
		return leg, nil
	case <-ctx.Done():
		return nil, cardbroker.Wrapf(ctx.Err(), cardbroker.Unavailable, "the agent does not answer")
	}
}

// forget ends the wait for a leg and closes one that came too late.
func (g *Gate) forget(id string, answer chan Leg) {
	g.loop.Must(func(w waits) error {
		delete(w, id)
		return nil
	})
	select {
	case late := <-answer:
		if late != nil {
			late.Close()
		}
	default:
	}
}

// Leave tells those who wait for an agent that it has gone.
func (g *Gate) Leave(route cardbroker.Route) {
	g.loop.Must(func(w waits) error {
		for id, waiting := range w {
			if waiting.agent.Route == route {
				waiting.answer <- nil // capacity 1, and this is the only answer
				delete(w, id)
			}
		}
		return nil
	})
}

// Bring is the handler of GET /local/v1/forwards/{id}: it takes the leg of an agent, by the kernel's word on its user. The
// request upgrades to [api.ForwardProtocol].
func (g *Gate) Bring(w http.ResponseWriter, r *http.Request) error {
	id, user := r.PathValue("id"), httpserver.CallerOf(r.Context()).User
	if r.Header.Get("Upgrade") != api.ForwardProtocol {
		return cardbroker.Errorf(cardbroker.Invalid, "this address upgrades to %s only", api.ForwardProtocol)
	}
	if err := g.loop.Do(r.Context(), func(w waits) error { return w.check(id, user) }); err != nil {
		return err
	}
	raw, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return err
	}
	leg := raw.(*httpserver.Conn)
	leg.SetDeadline(time.Time{})
	_, err = leg.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + api.ForwardProtocol + "\r\n\r\n"))
	if err == nil && buffered.Reader.Buffered() == 0 { // an agent has nothing to say before it is asked
		httpserver.Elsewhere(r.Context())
		if g.deliver(r.Context(), id, user, leg) == nil {
			return nil
		}
	}
	leg.Close()
	return nil
}

// deliver gives the leg to who waits for it. It takes the leg over only if it returns nil.
func (g *Gate) deliver(ctx context.Context, id string, user cardbroker.UserID, leg Leg) error {
	return g.loop.Do(ctx, func(w waits) error {
		if err := w.check(id, user); err != nil {
			return err
		}
		w[id].answer <- leg // capacity 1, and this is the only answer
		delete(w, id)
		return nil
	})
}

// check says whether a connection waits for an agent of this user.
func (w waits) check(id string, user cardbroker.UserID) error {
	if waiting := w[id]; waiting == nil || waiting.agent.Key.User != user {
		return cardbroker.Refusef(cardbroker.Unauthenticated, cardbroker.RuleForward, "no connection waits for this leg")
	}
	return nil
}

var _ Leg = (*httpserver.Conn)(nil)
