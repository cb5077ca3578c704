// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package pagejwt says whether a web page has shown the JWT that machine policy wants of its origin, besides the user's consent.
// It reads public keys from root's files, again when they change, and keeps nothing else.
package pagejwt

import (
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/jose"
)

// lookAgain is how long a file of keys is believed to be the same.
const lookAgain = time.Second

// Judge knows which origins have to show which JWTs. Make it with [New]; it may be used by any number of goroutines.
type Judge struct {
	wanted map[cardbroker.Origin][]kind
}

// kind is one kind of JWT.
type kind struct {
	verifier jose.Verifier
	keys     *keys
}

// New returns a judge for what policy says. Each file of keys is read at its first use; policy was checked with it.
func New(policy config.Policy, log *slog.Logger) *Judge {
	j := &Judge{wanted: make(map[cardbroker.Origin][]kind)}
	files := make(map[string]*keys)
	for origin, all := range policy.PageJWTs() {
		for _, p := range all {
			if files[p.JWKSFile] == nil {
				files[p.JWKSFile] = newKeys(p.JWKSFile, log)
			}
			verifier := jose.Verifier{Algorithms: p.Algorithms, Issuer: p.Issuer, Audience: p.Audience, Leeway: jose.MaxLeeway}
			j.wanted[origin] = append(j.wanted[origin], kind{verifier: verifier, keys: files[p.JWKSFile]})
		}
	}
	return j
}

// Wants says whether pages of the origin have to show a JWT.
func (j *Judge) Wants(origin cardbroker.Origin) bool { return len(j.wanted[origin]) > 0 }

// Check says whether authorization, "Bearer" and a JWT, is what a page of the origin has to show: its claim origin, or azp
// where there is none, is that very origin. Errors: Unauthenticated (RulePageJWT).
func (j *Judge) Check(origin cardbroker.Origin, authorization string) error {
	if !j.Wants(origin) {
		return nil
	}
	token, ok := strings.CutPrefix(authorization, "Bearer ")
	if !ok {
		return refuse("this page has to show a JWT of its tenant", nil)
	}
	said := "this page has to show a JWT of its tenant that is good for its origin"
	var why error
	for _, kind := range j.wanted[origin] {
		keys, err := kind.keys.now()
		if err == nil {
			var claims jose.Claims
			claims, err = kind.verifier.Verify(token, keys, time.Now())
			if err == nil && claims.Origin == string(origin) {
				return nil
			}
		}
		if err != nil {
			why = err
		}
		if cardbroker.RuleOf(err) == cardbroker.RuleTokenTime { // genuine: then the page may know that a clock is wrong
			said = err.Error()
		}
	}
	return refuse(said, why)
}

func refuse(said string, why error) error {
	return &cardbroker.Error{Reason: cardbroker.Unauthenticated, Rule: cardbroker.RulePageJWT, Message: said, Err: why}
}

// keys are what a file holds. It is looked at again at most once a second.
type keys struct {
	path string
	log  *slog.Logger
	held atomic.Pointer[held]
}

// held is what the file held when it was looked at. It never changes.
type held struct {
	set   jose.KeySet
	err   error     // then nobody is believed
	until time.Time // monotonic
}

func newKeys(path string, log *slog.Logger) *keys { return &keys{path: path, log: log} }

// now returns the keys of the file as it is now. While it cannot be read, or is not root's alone any more, there are none.
func (k *keys) now() (jose.KeySet, error) {
	before := k.held.Load()
	if before != nil && time.Now().Before(before.until) {
		return before.set, before.err
	}
	now := &held{until: time.Now().Add(lookAgain)}
	now.set, now.err = config.ReadKeySet(k.path) // whole, for whose the path is does not show in the file's times
	if now.err != nil && (before == nil || before.err == nil) {
		k.log.Error("no web page's JWT is believed: its keys cannot be used", "err", now.err)
	}
	k.held.Store(now) // of several that look at once, any is as good
	return now.set, now.err
}
