// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/loop"
)

// quarantined is the state of a Port that was released a moment ago: for others than its last agent it is not free yet.
// No View shows it.
const quarantined cardbroker.State = ""

// slot is what the Registry knows of one Port. The zero slot is a free one.
type slot struct {
	agent    cardbroker.Agent
	claim    [32]byte
	deadline time.Time // monotonic; zero while REGISTERED
}

// held says whether an agent has the Port.
func (s slot) held() bool { return s.agent.State != quarantined }

// identity is the part of a slot whose changes must last. What else changes follows from a restart anyway: deadlines
// begin anew, and who was REGISTERED is STALE.
type identity struct {
	key   cardbroker.AgentKey
	pid   int
	claim [32]byte
	route cardbroker.Route
}

func (s slot) identity() identity {
	if !s.held() {
		return identity{}
	}
	return identity{s.agent.Key, s.agent.PID, s.claim, s.agent.Route}
}

// commitAgain is how long after a failed commit the table tries the next, so that it notices when the ledger works again.
const commitAgain = time.Second

// holdings counts the slots of one user.
type holdings struct{ held, quarantined int }

// table is the Registry's state, and the owner behind its loop.
type table struct {
	cfg    Config // immutable, as are ledger and log
	ledger Ledger
	log    *slog.Logger

	epoch uint64 // set by load, as is salt
	salt  [32]byte

	slots    map[cardbroker.Port]slot // owned by the loop, as all of the following
	ports    map[cardbroker.AgentKey]cardbroker.Port
	users    map[cardbroker.UserID]holdings
	next     time.Time                // the earliest deadline
	doubtful map[cardbroker.Port]bool // the ledger may say otherwise: changed, or left so by a failed commit
	retry    time.Time                // when to commit again what is doubtful, if nothing else does before

	view    atomic.Pointer[View] // stored by the loop, loaded by anybody
	health  health
	changed chan struct{} // capacity 1
	turned  chan struct{} // capacity 1
}

func newTable(cfg Config, ledger Ledger, log *slog.Logger) *table {
	return &table{
		cfg:      cfg,
		ledger:   ledger,
		log:      log,
		slots:    make(map[cardbroker.Port]slot),
		ports:    make(map[cardbroker.AgentKey]cardbroker.Port),
		users:    make(map[cardbroker.UserID]holdings),
		doubtful: make(map[cardbroker.Port]bool),
		changed:  make(chan struct{}, 1),
		turned:   make(chan struct{}, 1),
	}
}

// load fills the empty table from the ledger, with fresh deadlines, and commits a new epoch.
func (t *table) load(ctx context.Context) error {
	if len(t.cfg.Ports) == 0 {
		return cardbroker.Errorf(cardbroker.Invalid, "no ports to give to agents")
	}
	kept, err := t.ledger.Load(ctx)
	if err != nil {
		return err
	}
	t.epoch, t.salt = cmp.Or(t.cfg.Epoch, kept.Epoch+1), kept.Salt
	changes := cardbroker.Changes{Epoch: t.epoch}
	now := time.Now()
	for _, record := range kept.Records {
		s := slot{agent: record.Agent, claim: record.Claim, deadline: now.Add(t.cfg.ReserveFor)}
		if s.agent.State != cardbroker.Reserved {
			s.agent.State, s.agent.Since, s.deadline = cardbroker.Stale, now, now.Add(t.cfg.Grace)
		}
		if other, ok := t.ports[s.agent.Key]; ok {
			return cardbroker.Errorf(cardbroker.Internal, "the store is damaged: ports %d and %d both belong to session %s of user %s",
				other, s.agent.Port, s.agent.Key.Session, s.agent.Key.User)
		}
		if _, inRange := slices.BinarySearch(t.cfg.Ports, s.agent.Port); !inRange {
			t.log.Warn("port released: it is outside the range", "port", s.agent.Port, "user", s.agent.Key.User.String())
			changes.Delete = append(changes.Delete, s.agent.Port)
			continue
		}
		t.put(s.agent.Port, s)
	}
	if err := t.ledger.Commit(ctx, changes); err != nil {
		return err
	}
	t.publish()
	return nil
}

// put replaces the slot of a port and keeps the indexes: the one place that changes the table.
func (t *table) put(port cardbroker.Port, s slot) {
	if old, ok := t.slots[port]; ok {
		t.count(old, -1)
		if old.held() && t.ports[old.agent.Key] == port {
			delete(t.ports, old.agent.Key)
		}
		delete(t.slots, port)
	}
	if s == (slot{}) {
		return
	}
	t.slots[port] = s
	t.count(s, +1)
	if s.held() {
		t.ports[s.agent.Key] = port
	}
}

func (t *table) count(s slot, n int) {
	user := s.agent.Key.User
	h := t.users[user]
	if s.held() {
		h.held += n
	} else {
		h.quarantined += n
	}
	t.users[user] = h
	if h == (holdings{}) {
		delete(t.users, user)
	}
}

// derive returns 32 bytes that are the same for one agent each time, and say nothing of it.
func (t *table) derive(key cardbroker.AgentKey, use string) []byte {
	mac := hmac.New(sha256.New, t.salt[:])
	mac.Write([]byte(key.User.String() + " | " + string(key.Session) + use))
	return mac.Sum(nil)
}

// route returns the agent's Route. It outlives the agent: what its tunnels left behind is taken up again by the next one.
func (t *table) route(key cardbroker.AgentKey) cardbroker.Route {
	return cardbroker.Route(hex.EncodeToString(t.derive(key, "\x00route")[:8]))
}

// search returns a Port for the agent: the first that is free, seen from a place that is the same each time.
func (t *table) search(key cardbroker.AgentKey, avoid []cardbroker.Port) (cardbroker.Port, error) {
	n := uint64(len(t.cfg.Ports))
	start := binary.BigEndian.Uint64(t.derive(key, "")) % n
	for i := range n {
		port := t.cfg.Ports[(start+i)%n]
		s, taken := t.slots[port]
		if taken && (s.held() || s.agent.Key != key) || slices.Contains(avoid, port) {
			continue
		}
		return port, nil
	}
	return 0, cardbroker.Errorf(cardbroker.PortsExhausted, "no port is free for another agent")
}

// Begin implements loop.Owner.
func (t *table) Begin() *tx {
	return &tx{table: t, now: time.Now(), before: make(map[cardbroker.Port]slot)}
}

// Deadline implements loop.Owner: the earliest deadline. While the ledger fails nothing is due but the next try.
func (t *table) Deadline() time.Time {
	if len(t.doubtful) > 0 {
		return t.retry
	}
	return t.next
}

// Tick implements loop.Owner: it ends what was not kept up.
func (t *table) Tick(tx *tx, now time.Time) {
	for port, s := range t.slots {
		switch {
		case s.deadline.IsZero() || now.Before(s.deadline):
		case s.held():
			tx.release(port)
		default:
			tx.set(port, slot{})
		}
	}
}

// Commit implements loop.Owner: the changes are in the ledger, then in the View, then answered; or they are nowhere. A
// batch that changes nothing that must last does not fail.
func (t *table) Commit(ctx context.Context, tx *tx) error {
	lasting := false
	for port, before := range tx.before {
		if before.identity() != t.slots[port].identity() {
			lasting, t.doubtful[port] = true, true
		}
	}
	if err := t.write(ctx); err != nil && lasting {
		tx.undo()
		return err
	}
	tx.confirm()
	if len(tx.before) > 0 {
		t.publish()
	}
	return nil
}

// write makes the ledger agree with the table on what is in doubt.
func (t *table) write(ctx context.Context) error {
	if len(t.doubtful) == 0 {
		return nil
	}
	changes := cardbroker.Changes{Epoch: t.epoch}
	for port := range t.doubtful {
		if s := t.slots[port]; s.held() {
			changes.Put = append(changes.Put, cardbroker.Record{Agent: s.agent, Claim: s.claim})
		} else {
			changes.Delete = append(changes.Delete, port)
		}
	}
	t.health.begin()
	began := time.Now()
	err := t.ledger.Commit(ctx, changes)
	if t.cfg.Committed != nil {
		t.cfg.Committed(time.Since(began), err)
	}
	failing := t.health.failed.Load() != nil
	if err == nil {
		clear(t.doubtful)
		if failing {
			t.log.Info("store works again")
		}
		t.health.end(nil)
		return nil
	}
	if !failing {
		t.log.Error("store cannot be written: agents that are there can be used, others cannot come", "err", err)
	}
	t.retry = time.Now().Add(commitAgain)
	err = cardbroker.Wrapf(err, cardbroker.Unavailable, "the store cannot be written")
	t.health.end(err)
	return err
}

// publish makes a View of the table, and signals it.
func (t *table) publish() {
	agents := make([]cardbroker.Agent, 0, len(t.ports))
	var guarded []cardbroker.Port
	t.next = time.Time{}
	for port, s := range t.slots {
		if s.held() {
			agents = append(agents, s.agent)
		}
		if t.cfg.Hold || s.agent.State == cardbroker.Stale || !s.held() {
			guarded = append(guarded, port)
		}
		if !s.deadline.IsZero() && (t.next.IsZero() || s.deadline.Before(t.next)) {
			t.next = s.deadline
		}
	}
	v := newView(t.epoch, agents, guarded)
	before := t.view.Load()
	if before != nil {
		v.sharing.Turns = before.sharing.Turns
	}
	turned := before != nil && v.sharing.Shared != before.sharing.Shared
	if turned {
		v.sharing.Turns++
	}
	t.view.Store(v)
	loop.Signal(t.changed)
	if turned {
		loop.Signal(t.turned)
	}
}
