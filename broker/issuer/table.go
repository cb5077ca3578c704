// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package issuer

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/jose"
)

// commitAgain is how long after a failed commit the table tries again what is due.
const commitAgain = 30 * time.Second

// view is what everybody may see, as of one moment. It never changes.
type view struct {
	byHash map[[32]byte]*entry
	byID   map[string]*entry
	list   []APIKey // the oldest first
	ring   ring
	jwks   []byte
	verify jose.KeySet
}

// table is the issuer's state, and the owner behind its loop.
type table struct {
	cfg    Config // immutable, as are ledger and log
	ledger Ledger
	log    *slog.Logger

	entries map[string]*entry // owned by the loop, as all of the following
	barred  map[string]bool   // revoked, though the ledger may say otherwise
	ring    ring
	retry   time.Time // not before, after a failure

	view atomic.Pointer[view] // stored by the loop, loaded by anybody
}

func newTable(cfg Config, ledger Ledger, log *slog.Logger) *table {
	return &table{cfg: cfg, ledger: ledger, log: log, entries: make(map[string]*entry), barred: make(map[string]bool)}
}

// load fills the table from ledger and file.
func (t *table) load(ctx context.Context) error {
	kept, err := t.ledger.Load(ctx)
	if err != nil {
		return err
	}
	for id, text := range kept {
		if t.entries[id], err = parseRow(id, text); err != nil {
			return err
		}
	}
	r, err := readRing(t.cfg.KeyFile)
	if err == nil && r == nil {
		if r, err = newRing(time.Now().Round(0)); err == nil {
			err = writeRing(t.cfg.KeyFile, r)
		}
	}
	if err != nil {
		return err
	}
	t.ring = r
	return t.publish()
}

// publish makes the state the view.
func (t *table) publish() error {
	v := &view{byHash: make(map[[32]byte]*entry), byID: make(map[string]*entry), ring: t.ring}
	for id, e := range t.entries {
		if !t.barred[id] {
			v.byHash[e.hash], v.byID[id] = e, e
			v.list = append(v.list, e.key)
		}
	}
	slices.SortFunc(v.list, func(a, b APIKey) int {
		return cmp.Or(a.Enrolled.Compare(b.Enrolled), cmp.Compare(a.ID, b.ID))
	})
	var err error
	if v.jwks, err = t.ring.published(); err != nil {
		return err
	}
	if v.verify, err = jose.ParseKeySet(v.jwks); err != nil {
		return err
	}
	t.view.Store(v)
	return nil
}

// tx is what one batch changes.
type tx struct {
	table *table
	put   map[string]*entry
	drop  map[string]bool
	ring  ring // the table's own where it did not change
	turns bool // it did
}

// Begin starts a batch.
func (t *table) Begin() *tx {
	return &tx{table: t, put: make(map[string]*entry), drop: make(map[string]bool), ring: t.ring}
}

// Deadline returns when a signing key is to be replaced or forgotten, or a revocation stored at last.
func (t *table) Deadline() time.Time {
	now := time.Now().Round(0)
	due := t.ring.due(now, t.cfg.Rotate)
	if len(t.barred) > 0 {
		due = now
	}
	if due.After(t.retry) {
		return due
	}
	return t.retry
}

// Tick does what is due. Times are those of the wall clock, as they are kept and shown.
func (t *table) Tick(x *tx, now time.Time) {
	now = now.Round(0)
	for id := range t.barred {
		x.drop[id] = true
	}
	if swept, changed := x.ring.sweep(now); changed {
		x.ring, x.turns = swept, true
	}
	if x.ring.stale(now, t.cfg.Rotate) {
		if err := x.rotate(now); err != nil {
			t.log.Error("signing key not replaced", "err", err)
		}
	}
}

// Commit makes the batch last: API keys in the ledger, signing keys in their file. What was revoked is barred even if it fails.
func (t *table) Commit(ctx context.Context, x *tx) error {
	err := t.commit(ctx, x)
	t.retry = time.Time{}
	if err != nil {
		t.retry = time.Now().Add(commitAgain)
		t.log.Error("issuer's keys not stored", "err", err)
	}
	if failed := t.publish(); err == nil {
		err = failed
	}
	return err
}

func (t *table) commit(ctx context.Context, x *tx) error {
	for id := range x.drop {
		t.barred[id] = true
	}
	if len(x.put)+len(x.drop) > 0 {
		rows := make(map[string][]byte, len(x.put))
		for id, e := range x.put {
			text, err := e.row()
			if err != nil {
				return err
			}
			rows[id] = text
		}
		if err := t.ledger.Commit(ctx, rows, slices.Collect(maps.Keys(x.drop))); err != nil {
			return err
		}
		maps.Copy(t.entries, x.put)
		for id := range x.drop {
			delete(t.entries, id)
			delete(t.barred, id)
		}
	}
	if x.turns {
		if err := writeRing(t.cfg.KeyFile, x.ring); err != nil {
			return err
		}
		t.ring = x.ring
	}
	return nil
}

// all returns the entries as the batch leaves them.
func (x *tx) all() map[string]*entry {
	all := maps.Clone(x.table.entries)
	maps.Copy(all, x.put)
	for id := range x.drop {
		delete(all, id)
	}
	return all
}

func (x *tx) enrol(tenant cardbroker.Tenant, hash [32]byte) (APIKey, error) {
	all := x.all()
	own := 0
	for _, e := range all {
		if e.key.Tenant == tenant {
			own++
		}
	}
	if own >= perTenant || len(all) >= maxKeys {
		return APIKey{}, cardbroker.Errorf(cardbroker.RateLimited, "%s has %d API keys, the host %d: revoke one first", tenant, own, len(all))
	}
	id := newKeyID(tenant)
	for all[id] != nil || x.drop[id] || x.table.barred[id] {
		id = newKeyID(tenant)
	}
	key := APIKey{ID: id, Tenant: tenant, Enrolled: time.Now().UTC().Truncate(time.Millisecond)}
	x.put[id] = newEntry(key, hash)
	return key, nil
}

func newKeyID(tenant cardbroker.Tenant) string {
	var raw [4]byte
	rand.Read(raw[:]) // never fails
	return string(tenant) + "/" + hex.EncodeToString(raw[:])
}

func (x *tx) revoke(name string) ([]string, error) {
	var ids []string
	for id, e := range x.all() {
		if e.key.named(name) {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil, unknown(name)
	}
	slices.Sort(ids)
	for _, id := range ids {
		delete(x.put, id)
		x.drop[id] = true
	}
	return ids, nil
}

func (x *tx) rotate(now time.Time) error {
	turned, err := x.ring.rotate(now.Round(0))
	if err != nil {
		return err
	}
	x.ring, x.turns = turned, true
	return nil
}

func (x *tx) discard(now time.Time) error {
	fresh, err := newRing(now.Round(0))
	if err != nil {
		return err
	}
	x.ring, x.turns = fresh, true
	return nil
}
