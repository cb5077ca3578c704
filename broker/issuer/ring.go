// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package issuer

import (
	"slices"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/jose"
)

// lead is how long a key is published before it signs, and how long others may keep the published set.
const lead = time.Minute

// keep is how long a key is published after it has signed for the last time.
const keep = maxLife + 2*leeway

// SigningKey is what is known of a signing key. It is the ring's to say what it does: the last one signs next.
type SigningKey struct {
	ID   string
	From time.Time // when it begins to sign; zero: not yet decided
	End  time.Time // when it is forgotten; zero: not yet decided
}

// link is a signing key in the ring.
type link struct {
	key  jose.SigningKey
	made time.Time
	from time.Time
	end  time.Time
}

func (l link) public() SigningKey { return SigningKey{ID: l.key.ID(), From: l.from, End: l.end} }

// ring is the signing keys in the order of their use. The last is published and does not sign yet; the one before it is the last
// that was told to. All functions return another ring: a ring that others see does not change.
type ring []link

// newRing returns a ring with one key that signs and one that is next.
func newRing(now time.Time) (ring, error) {
	first, err := jose.NewSigningKey()
	if err != nil {
		return nil, err
	}
	next, err := jose.NewSigningKey()
	if err != nil {
		return nil, err
	}
	return ring{{key: first, made: now, from: now}, {key: next, made: now}}, nil
}

// current returns the key that signs at now: the last whose time has come. If the clock was set back so far that none's has, it
// is the first.
func (r ring) current(now time.Time) link {
	for _, l := range slices.Backward(r[:len(r)-1]) {
		if !l.from.After(now) {
			return l
		}
	}
	return r[0]
}

// rotate tells the next key to sign and adds another.
func (r ring) rotate(now time.Time) (ring, error) {
	if wait := r[len(r)-2].from.Sub(now); wait > 0 && wait <= lead { // a longer wait is a clock that was set back
		return nil, cardbroker.Errorf(cardbroker.Conflict, "a rotation is under way: the next key signs in %v", wait.Round(time.Second))
	}
	after, err := jose.NewSigningKey()
	if err != nil {
		return nil, err
	}
	turned := slices.Clone(r)
	next := &turned[len(turned)-1]
	wait := min(max(next.made.Add(lead).Sub(now), 0), lead)
	next.from = now.Add(wait)
	for i := range turned[:len(turned)-1] {
		if turned[i].end.IsZero() {
			turned[i].end = next.from.Add(keep)
		}
	}
	return append(turned, link{key: after, made: now}), nil
}

// sweep forgets the keys whose end has come, and brings ends closer that a clock which has been set back left far away.
func (r ring) sweep(now time.Time) (swept ring, changed bool) {
	for i, l := range r {
		latest := now.Add(lead + keep)
		switch {
		case l.end.IsZero():
		case !l.end.After(now) && i < len(r)-2: // the two that are needed stay, whatever they say
			changed = true
			continue
		case l.end.After(latest):
			l.end, changed = latest, true
		}
		swept = append(swept, l)
	}
	return swept, changed
}

// stale says whether the key that was told to sign last has done so for long enough; so it is if its beginning is so far ahead
// that the clock must have been set back.
func (r ring) stale(now time.Time, rotate time.Duration) bool {
	from := r[len(r)-2].from
	return !from.Add(rotate).After(now) || from.After(now.Add(lead))
}

// due returns when there is something to do; now: at once.
func (r ring) due(now time.Time, rotate time.Duration) time.Time {
	if r.stale(now, rotate) {
		return now
	}
	due := r[len(r)-2].from.Add(rotate)
	for _, l := range r {
		if !l.end.IsZero() && l.end.Before(due) {
			due = l.end
		}
	}
	return due
}

func (r ring) list() []SigningKey {
	keys := make([]SigningKey, len(r))
	for i, l := range r {
		keys[i] = l.public()
	}
	return keys
}

// published returns the set of all keys.
func (r ring) published() ([]byte, error) {
	keys := make([]jose.SigningKey, len(r))
	for i, l := range r {
		keys[i] = l.key
	}
	return jose.PublishKeys(keys)
}
