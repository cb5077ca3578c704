// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/loop"
)

// Config says how the Registry deals with agents. Zero fields have the defaults that stand beside them.
type Config struct {
	Ports      cardbroker.Ports                    // that agents get; required
	ReserveFor time.Duration                       // from a reservation to its registration: 120 s
	Grace      time.Duration                       // from the end of a Link to the release of the Port: 30 s
	Quarantine time.Duration                       // from the release of a Port until somebody else gets it: 60 s
	PerUser    int                                 // agents of one user, and as many ports of his in quarantine: 16
	Committed  func(took time.Duration, err error) // is told of each commit; nil: nobody wants to know
	Hold       bool                                // the Guard binds the ports of all agents, and keeps them
	Epoch      uint64                              // of this run; 0: one after the ledger's
}

// withDefaults fills in what is zero.
func (c Config) withDefaults() Config {
	if c.ReserveFor == 0 {
		c.ReserveFor = 120 * time.Second
	}
	if c.Grace == 0 {
		c.Grace = 30 * time.Second
	}
	if c.Quarantine == 0 {
		c.Quarantine = 60 * time.Second
	}
	if c.PerUser == 0 {
		c.PerUser = 16
	}
	return c
}

// detachAgain is how long Detach waits before it tries once more.
const detachAgain = 250 * time.Millisecond

// Ledger keeps what must outlive the Registry. Both may block; only Commit is called while the Registry serves.
type Ledger interface {
	// Load returns what is kept.
	Load(ctx context.Context) (cardbroker.Snapshot, error)
	// Commit makes the changes last, all or none. After an error it is unknown which.
	Commit(ctx context.Context, changes cardbroker.Changes) error
}

// Claim is how an agent shows who it is: as the kernel knows its user, and by a secret that it minted itself and that
// lets a process of its own user re-attach.
type Claim struct {
	Key  cardbroker.AgentKey // the user from the kernel, the session in the agent's words
	PID  int                 // for people; 0 if unknown
	Hash [32]byte            // SHA-256 of the secret
}

// Registry is the table of agents and their ports. It has one writer, the loop that Run is; every change lasts in the
// ledger before it is answered or seen. Readers load the View and wait for nobody.
type Registry struct {
	loop  *loop.Loop[*tx]
	table *table // owned by Run, but for what it publishes
}

// New loads the ledger and commits a new epoch to it. Ports that are no longer in the range are released. Errors:
// Invalid for a config that cannot work, Internal for a ledger that contradicts itself, or the ledger's own.
func New(ctx context.Context, cfg Config, ledger Ledger, log *slog.Logger) (*Registry, error) {
	r := &Registry{loop: loop.New[*tx](), table: newTable(cfg.withDefaults(), ledger, log)}
	if err := r.table.load(ctx); err != nil {
		return nil, fmt.Errorf("cannot load the registry: %w", err)
	}
	return r, nil
}

// Run serves the commands until ctx ends. It is called once.
func (r *Registry) Run(ctx context.Context) error { return r.loop.Run(ctx, r.table) }

// View returns the latest View. It never waits.
func (r *Registry) View() *View { return r.table.view.Load() }

// Degraded returns Unavailable, with the reason to show, while the ledger fails or does not answer; nil if all is well.
func (r *Registry) Degraded() error { return r.table.health.degraded() }

// Changed delivers when there is a new View; signals that nobody has taken are one. It has one receiver, the guard.
func (r *Registry) Changed() <-chan struct{} { return r.table.changed }

// Turned delivers when the View's Sharing is another. It has one receiver, who tells the agents.
func (r *Registry) Turned() <-chan struct{} { return r.table.turned }

// All operations below wait for the loop: they return Overloaded when too many wait already, Unavailable when the change
// cannot be made to last or the Registry has ended, and Timeout or Canceled when ctx ends first.

// Reserve promises the agent a Port that is none of avoid, until a deadline. Asked again, it promises the same Port and
// renews the deadline; a claim other than before takes the place of the older one, since the user is the boundary and a
// crashed agent's successor does not know it. With avoid, ports that the agent could not bind (at most 64), the agent
// gives up the Port that it held. Errors: Invalid, Conflict (it is registered and alive), RateLimited (RuleQuota),
// PortsExhausted.
func (r *Registry) Reserve(ctx context.Context, c Claim, avoid []cardbroker.Port) (cardbroker.Reservation, error) {
	return ask(ctx, r, func(t *tx) (cardbroker.Reservation, error) { return t.reserve(c, avoid) })
}

// Renew moves the deadline of a reservation. Errors: Unauthenticated (RuleClaim), Conflict (not RESERVED any more).
func (r *Registry) Renew(ctx context.Context, c Claim) (cardbroker.Reservation, error) {
	return ask(ctx, r, func(t *tx) (cardbroker.Reservation, error) { return t.renew(c) })
}

// Register makes the agent REGISTERED. Its Route is the same for each agent of its session.
// Whoever called it calls Detach when the Link ends, once. Errors: Unauthenticated (RuleClaim), Conflict (it is registered
// already, and its Link is alive).
func (r *Registry) Register(ctx context.Context, c Claim) (cardbroker.Agent, error) {
	return r.enter(ctx, func(t *tx, reg *registration) (cardbroker.Agent, error) { return t.register(c, reg) })
}

// enter has the loop register an agent whose asker may leave meanwhile.
func (r *Registry) enter(ctx context.Context, f func(*tx, *registration) (cardbroker.Agent, error)) (cardbroker.Agent, error) {
	reg := &registration{}
	agent, err := ask(ctx, r, func(t *tx) (cardbroker.Agent, error) { return f(t, reg) })
	if err != nil && ctx.Err() != nil && !reg.abandon() {
		return reg.agent, nil // committed just as ctx ended
	}
	return agent, err
}

// Assert is Register for an agent that has bound its port without a reservation: the kernel says that its user listens there.
// It takes the place of an older claim of its session, and of an agent of another session that is STALE. Errors: Conflict (it is
// registered already, and its Link is alive; the port is outside the range; another session's agent has it or was promised it),
// RateLimited (RuleQuota).
func (r *Registry) Assert(ctx context.Context, c Claim, port cardbroker.Port) (cardbroker.Agent, error) {
	return r.enter(ctx, func(t *tx, reg *registration) (cardbroker.Agent, error) { return t.assert(c, port, reg) })
}

// Detach makes the agent of an ended Link STALE, as Register returned it, unless it, or another of its session, has registered
// anew. It tries until that is done
// or ctx ends, which should be the service's: an agent that stayed REGISTERED without a Link could never come back.
func (r *Registry) Detach(ctx context.Context, agent cardbroker.Agent) error {
	for {
		_, err := ask(ctx, r, func(t *tx) (none struct{}, _ error) { t.detach(agent); return })
		if err == nil {
			return nil
		}
		select {
		case <-time.After(detachAgain):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Release ends the agent's hold on its Port, in any State. Without one there is nothing to do. Errors: Unauthenticated
// (RuleClaim).
func (r *Registry) Release(ctx context.Context, c Claim) error {
	_, err := ask(ctx, r, func(t *tx) (none struct{}, _ error) { return none, t.releaseClaimed(c) })
	return err
}

// ask has the loop run f, whose result stands once the batch is committed.
func ask[V any](ctx context.Context, r *Registry, f func(*tx) (V, error)) (V, error) {
	var none V
	if err := r.table.health.stalled(); err != nil {
		return none, err
	}
	var answer V
	err := r.loop.Do(ctx, func(t *tx) (err error) {
		answer, err = f(t)
		return err
	})
	if err != nil {
		return none, err // answer may still be written
	}
	return answer, nil
}
