// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package tenant

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/jose"
	"github.com/cardbroker/cardbroker/internal/loop"
)

const (
	maxUses   = 1 << 17     // JWTs that are kept at a time; 16 MiB
	keepUsed  = time.Hour   // beyond a token's end: a clock that is set back revives none
	pruneWait = time.Minute // between two looks for what need not be kept any more
)

// Shelf keeps what must outlive the broker; store.Shelf is one.
type Shelf interface {
	Load(ctx context.Context) (map[string][]byte, error)
	// Commit makes the changes last, all or none.
	Commit(ctx context.Context, put map[string][]byte, drop []string) error
}

// use is one JWT that opens one tunnel.
type use struct {
	key   string    // SHA-256 of issuer and jti
	until time.Time // when nobody believes it any more
}

func newUse(c jose.Claims) use {
	sum := sha256.Sum256([]byte(c.Issuer + "\x00" + c.ID))
	return use{key: string(sum[:]), until: c.Expires.Add(jose.MaxLeeway + keepUsed)}
}

// uses are the JWTs that were used up. Its loop is the only one that touches them, and commits each batch before it answers.
type uses struct {
	loop  *loop.Loop[*useBatch]
	shelf Shelf
	known map[string]time.Time // until when
	prune time.Time            // when it is looked for old ones
}

// useBatch is what one batch changes.
type useBatch struct {
	add  map[string]time.Time
	drop []string
}

func newUses(ctx context.Context, shelf Shelf) (*uses, error) {
	u := &uses{loop: loop.New[*useBatch](), shelf: shelf, known: make(map[string]time.Time), prune: time.Now().Add(pruneWait)}
	if shelf == nil {
		return u, nil
	}
	kept, err := shelf.Load(ctx)
	if err != nil {
		return nil, err
	}
	for key, value := range kept {
		if len(value) == 8 {
			u.known[key] = time.Unix(int64(binary.BigEndian.Uint64(value)), 0)
		}
	}
	return u, nil
}

// Begin starts a batch.
func (u *uses) Begin() *useBatch { return &useBatch{add: make(map[string]time.Time)} }

// Commit keeps the batch's uses, and only then counts them.
func (u *uses) Commit(ctx context.Context, b *useBatch) error {
	if len(b.add) == 0 && len(b.drop) == 0 {
		return nil
	}
	values := make(map[string][]byte, len(b.add))
	for key, until := range b.add {
		values[key] = binary.BigEndian.AppendUint64(nil, uint64(until.Unix()))
	}
	if err := u.shelf.Commit(ctx, values, b.drop); err != nil {
		return err
	}
	maps.Copy(u.known, b.add)
	for _, key := range b.drop {
		delete(u.known, key)
	}
	return nil
}

// Deadline is when the old ones are looked for.
func (u *uses) Deadline() time.Time {
	if len(u.known) == 0 {
		return time.Time{}
	}
	return u.prune
}

// Tick forgets the old ones.
func (u *uses) Tick(b *useBatch, now time.Time) {
	u.prune = now.Add(pruneWait)
	for key, until := range u.known {
		if now.After(until) {
			b.drop = append(b.drop, key)
		}
	}
}

// burn uses a token up.
func (u *uses) burn(ctx context.Context, one use) error {
	if u.shelf == nil {
		return cardbroker.Errorf(cardbroker.Unavailable, "used tokens cannot be kept")
	}
	return u.loop.Do(ctx, func(b *useBatch) error {
		_, known := u.known[one.key]
		_, now := b.add[one.key]
		switch {
		case known || now:
			return &cardbroker.Error{Reason: cardbroker.Unauthenticated, Rule: cardbroker.RuleToken,
				Message: "the token has opened a tunnel already: it opens one only"}
		case len(u.known)+len(b.add) >= maxUses:
			return cardbroker.Errorf(cardbroker.Overloaded, "too many tokens were used lately")
		}
		b.add[one.key] = one.until
		return nil
	})
}
