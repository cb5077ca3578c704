// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pin

import (
	"context"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
)

// How many challenges may be open, and for how long.
const (
	maxChallenges    = 64
	maxOwnChallenges = 8 // of one page: the oldest makes room
	challengeTime    = time.Minute
)

// challenge is a number that a page puts into the JWE of one PIN, so that it works once.
type challenge struct {
	origin cardbroker.Origin
	hash   [32]byte // of the nonce
	ends   time.Time
}

// Challenge gives a page the nonce for one PIN. Errors: RateLimited (too many are open), Unavailable.
func (k *Keeper) Challenge(ctx context.Context, origin cardbroker.Origin) (api.PINChallenge, error) {
	nonce := cardbroker.RandomSecret()
	ends := time.Now().Add(challengeTime)
	err := k.loop.Do(ctx, func(st *state) error {
		st.dropChallenges(time.Now())
		own := -1 // the oldest of its own
		n := 0
		for i, c := range st.challenges {
			if c.origin == origin {
				if n++; own < 0 {
					own = i
				}
			}
		}
		switch {
		case n >= maxOwnChallenges:
			st.challenges = append(st.challenges[:own], st.challenges[own+1:]...)
		case len(st.challenges) >= maxChallenges:
			return cardbroker.Refusef(cardbroker.RateLimited, cardbroker.RulePINRate, "%d challenges are open", maxChallenges)
		}
		st.challenges = append(st.challenges, challenge{origin: origin, hash: nonce.Hash(), ends: ends})
		return nil
	})
	return api.PINChallenge{Nonce: string(nonce.Reveal()), Expires: ends.UTC()}, err
}

// burn takes a nonce once, from the page that it was given to.
func (k *Keeper) burn(ctx context.Context, origin cardbroker.Origin, nonce string) error {
	said := cardbroker.NewSecret([]byte(nonce))
	return k.loop.Do(ctx, func(st *state) error {
		st.dropChallenges(time.Now())
		for i, c := range st.challenges {
			if c.origin == origin && said.Matches(c.hash) {
				st.challenges = append(st.challenges[:i], st.challenges[i+1:]...)
				return nil
			}
		}
		return refuseSealed("its nonce is unknown, used or expired")
	})
}

func (st *state) dropChallenges(now time.Time) {
	kept := st.challenges[:0]
	for _, c := range st.challenges {
		if now.Before(c.ends) {
			kept = append(kept, c)
		}
	}
	st.challenges = kept
}
