// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/journal"
)

// Left is a lease that an earlier process of the session has left behind.
type Left struct {
	Note
	journal *journal.Journal
	state   journal.State
}

// Discard gives the lease up: its back end hears that it is over.
func (l Left) Discard() { l.journal.Remove() }

// Left returns the leases that an earlier process has left behind and that have not expired. What else is in the folder is
// removed. It is called before the first Serve.
func (h *Holder) Left() []Left {
	var all []Left
	for _, name := range h.journals.Names() {
		l, ok := readLeft(h.journals, name)
		switch {
		case !ok:
			h.journals.Discard(name)
		case !time.Now().Before(l.Expires):
			l.Discard()
		default:
			l.journal.Durable(l.Durability)
			all = append(all, l)
		}
	}
	return all
}

// Sweep removes from the folder of another session, which may have an agent, the journals of leases that have expired.
func Sweep(folder journal.Folder) {
	for _, name := range folder.Names() {
		l, ok := readLeft(folder, name)
		switch {
		case !ok: // it may be about to be made
		case time.Now().Before(l.Expires):
			l.journal.Close()
		default:
			l.Discard()
		}
	}
}

func readLeft(folder journal.Folder, name string) (l Left, ok bool) {
	j, state, err := folder.Open(name)
	if err != nil {
		return Left{}, false
	}
	l = Left{journal: j, state: state}
	if json.Unmarshal(state.Note, &l.Note) != nil || l.Tunnel != name {
		j.Close()
		return Left{}, false
	}
	return l, true
}

// Restore holds such a lease until its back end has come back and ended it, or it ends otherwise, as Serve does. The card is
// reset first: what the back end made of it is gone, and is not there for anybody else either. Of t all is as for a new tunnel.
func (h *Holder) Restore(ctx context.Context, left Left, t Tunnel) error {
	e := newExchange(h, t)
	e.journal, e.durability, e.share = left.journal, left.Durability, left.Share
	now := time.Now()
	e.since, e.expires = earlier(left.Since, now), left.Expires
	e.expires = earlier(e.expires, now.Add(e.granted(MaxLease))) // policy may be stricter than it was, and a file says what it likes
	err := h.restore(ctx, e, left)
	e.farewell(err)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("tunnel %s: %w", t.ID, err)
	}
	return nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func (h *Holder) restore(ctx context.Context, e *exchange, left Left) error {
	hash, err := hex.DecodeString(left.Token)
	if err != nil || len(hash) != len(e.token.hash) {
		left.Discard()
		return invalid("the journal names no resume token")
	}
	e.token.hash = [32]byte(hash)
	e.adopt(left.state)
	held, err := h.leases.acquire(ctx, e.tunnel, e.since, e.expires, e.token)
	defer h.leases.release(held)
	if err != nil {
		e.closeJournal(cardbroker.ReasonOf(context.Cause(ctx)) == cardbroker.Canceled)
		return err
	}
	e.grace.Store(int64(Grace))
	return h.hold(ctx, e, held)
}
