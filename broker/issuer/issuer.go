// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package issuer gives short-lived tokens to the back ends of enrolled tenants, so that a small site needs no identity
// provider. A back end has an API key, of which the broker keeps a hash, and exchanges it for a token, which the broker signs by a
// key of its own and verifies at its door as it verifies others'.
//
// One loop owns the API keys, which last in the store, and the signing keys, which last in a file of their own. Exchanges and
// verifications read its view and wait for nobody.
package issuer

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/jose"
	"github.com/cardbroker/cardbroker/internal/loop"
)

const (
	defaultLife   = 5 * time.Minute
	minLife       = 10 * time.Second
	maxLife       = 15 * time.Minute // of a token
	defaultRotate = 30 * 24 * time.Hour
	minRotate     = time.Hour

	leeway = 5 * time.Second // our clock set right between issue and use; it is nobody else's

	perTenant = 16   // API keys
	maxKeys   = 4096 // API keys
)

// Config says how tokens are issued. URL and KeyFile are required.
type Config struct {
	URL     string        // of the back-end door: issuer and audience of every token
	KeyFile string        // the signing keys, 0600
	Life    time.Duration // of a token, 10 s to 15 min; 0: 5 min
	Rotate  time.Duration // how long one key signs, at least an hour; 0: 30 days
}

// check fills in what is zero, and says what cannot be.
func (c Config) check() (Config, error) {
	if c.Life == 0 {
		c.Life = defaultLife
	}
	if c.Rotate == 0 {
		c.Rotate = defaultRotate
	}
	switch {
	case c.Life < minLife || c.Life > maxLife:
		return c, cardbroker.Errorf(cardbroker.Invalid, "issuer.life: %v, want %v to %v", c.Life, minLife, maxLife)
	case c.Rotate < minRotate:
		return c, cardbroker.Errorf(cardbroker.Invalid, "issuer.rotate: %v, want at least %v", c.Rotate, minRotate)
	}
	return c, nil
}

// Ledger keeps the API keys: values by name. Both may block.
type Ledger interface {
	Load(ctx context.Context) (map[string][]byte, error)
	// Commit makes the changes last, all or none. After an error it is unknown which.
	Commit(ctx context.Context, values map[string][]byte, drop []string) error
}

// Issuer issues tokens. Make it with [New].
type Issuer struct {
	cfg   Config
	loop  *loop.Loop[*tx]
	table *table // owned by Run, but for what it publishes
}

// New loads API keys and signing keys; where there are no signing keys it makes them. Errors: Invalid, the configuration or the
// file of the keys cannot be used; Internal, what was kept is damaged; or the ledger's own.
func New(ctx context.Context, cfg Config, ledger Ledger, log *slog.Logger) (*Issuer, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, err
	}
	i := &Issuer{cfg: cfg, loop: loop.New[*tx](), table: newTable(cfg, ledger, log)}
	if err := i.table.load(ctx); err != nil {
		return nil, fmt.Errorf("cannot issue tokens: %w", err)
	}
	return i, nil
}

// Run serves changes until ctx ends, and puts a new signing key to use when it is time. It is called once.
func (i *Issuer) Run(ctx context.Context) error { return i.loop.Run(ctx, i.table) }

// Token is a token that was issued.
type Token struct {
	Text    cardbroker.Secret
	Expires time.Time
	Life    time.Duration
	Key     APIKey // for which it was issued
}

// Exchange issues a token for an API key. admit says whether the key's tenant may come from where the asker is. Errors:
// Unauthenticated (RuleToken), with the same words whatever is wrong with the key; RateLimited (RuleRate), the key is used too
// often. The look-up is by hash, so its time tells nothing of any key.
func (i *Issuer) Exchange(key cardbroker.Secret, admit func(cardbroker.Tenant) bool) (Token, error) {
	view := i.table.view.Load()
	entry := view.byHash[key.Hash()]
	if entry == nil || !admit(entry.key.Tenant) {
		return Token{}, cardbroker.Refusef(cardbroker.Unauthenticated, cardbroker.RuleToken, "the token is missing or unknown")
	}
	if !entry.rate.Allow() {
		return Token{}, cardbroker.Refusef(cardbroker.RateLimited, cardbroker.RuleRate, "this API key is exchanged too often; a token may be used many times")
	}
	return i.issue(view, entry.key)
}

// Issue issues a token as for an API key, by its id, or for the oldest one of a tenant: for an administrator. Errors: Invalid,
// there is none.
func (i *Issuer) Issue(name string) (Token, error) {
	view := i.table.view.Load()
	for _, key := range view.list { // the oldest first
		if key.named(name) {
			return i.issue(view, key)
		}
	}
	return Token{}, unknown(name)
}

// issue signs a token. Its jti begins with the API key's id, by which it is refused when that key is revoked.
func (i *Issuer) issue(view *view, key APIKey) (Token, error) {
	now := time.Now().Truncate(time.Second)
	var random [16]byte
	rand.Read(random[:]) // never fails
	expires := now.Add(i.cfg.Life)
	text, err := view.ring.current(now).key.Sign(jose.Grant{
		Issuer:   i.cfg.URL,
		Audience: i.cfg.URL,
		Subject:  string(key.Tenant),
		ID:       key.ID + "/" + hex.EncodeToString(random[:]),
		Issued:   now,
		Expires:  expires,
	})
	return Token{Text: text, Expires: expires, Life: i.cfg.Life, Key: key}, err
}

// Verifier says which tokens are ours. With [Issuer.Keys] and [Issuer.Tenant] it tells the door whom to believe.
func (i *Issuer) Verifier() jose.Verifier {
	return jose.Verifier{Algorithms: []string{"ES256"}, Issuer: i.cfg.URL, Audience: i.cfg.URL, Leeway: leeway, MaxLife: maxLife}
}

// Keys returns the public halves of the signing keys. It never waits and never fails.
func (i *Issuer) Keys(context.Context, string) (jose.KeySet, error) {
	return i.table.view.Load().verify, nil
}

// Tenant returns whose a token with these claims is; none's if its API key is revoked.
func (i *Issuer) Tenant(c jose.Claims) (cardbroker.Tenant, bool) {
	entry := i.table.view.Load().byID[c.ID[:max(0, strings.LastIndex(c.ID, "/"))]]
	if entry == nil || string(entry.key.Tenant) != c.Subject {
		return "", false
	}
	return entry.key.Tenant, true
}

// JWKS returns the public halves of the signing keys, as a JWK set (RFC 7517 §5), and how long it may be kept.
func (i *Issuer) JWKS() (text []byte, keep time.Duration) { return i.table.view.Load().jwks, lead }

// APIKeys lists the API keys, the oldest first.
func (i *Issuer) APIKeys() []APIKey { return i.table.view.Load().list }

// SigningKeys lists the keys that sign, did so, or will next, in this order of their use.
func (i *Issuer) SigningKeys() []SigningKey { return i.table.view.Load().ring.list() }

// All operations below wait for the loop: they return Overloaded when too many wait already, Unavailable when the change
// cannot be made to last or the Issuer has ended, and Timeout or Canceled when ctx ends first.

// Enrol makes an API key for a tenant. The key itself is returned this once. Errors: RateLimited, the tenant or the host has too
// many.
func (i *Issuer) Enrol(ctx context.Context, tenant cardbroker.Tenant) (APIKey, cardbroker.Secret, error) {
	secret := newAPISecret()
	var key APIKey
	err := i.loop.Do(ctx, func(t *tx) (err error) {
		key, err = t.enrol(tenant, secret.Hash())
		return err
	})
	if err != nil {
		return APIKey{}, cardbroker.Secret{}, err // key may still be written
	}
	return key, secret, nil
}

// Revoke ends an API key, by its id, or all of a tenant, with all tokens that were issued for it, and returns the ids. The end is at
// once, also where it cannot be made to last: then it is Unavailable, and tried again by itself. Errors: Invalid, there is none.
func (i *Issuer) Revoke(ctx context.Context, name string) ([]string, error) {
	var ids []string
	err := i.loop.Do(ctx, func(t *tx) (err error) {
		ids, err = t.revoke(name)
		return err
	})
	if err != nil {
		return nil, err
	}
	return ids, nil
}

// Rotate has the next signing key sign, and returns it: from now on, or as soon as it has been published for a minute. The tokens
// of the one before stay good. Errors: Conflict, a rotation is under way.
func (i *Issuer) Rotate(ctx context.Context) (SigningKey, error) {
	return i.turn(ctx, func(t *tx) error { return t.rotate(time.Now()) })
}

// Discard replaces all signing keys at once, for when others may know them: every token that was issued is void.
func (i *Issuer) Discard(ctx context.Context) (SigningKey, error) {
	return i.turn(ctx, func(t *tx) error { return t.discard(time.Now()) })
}

func (i *Issuer) turn(ctx context.Context, f func(*tx) error) (SigningKey, error) {
	var key SigningKey
	err := i.loop.Do(ctx, func(t *tx) error {
		if err := f(t); err != nil {
			return err
		}
		key = t.ring[len(t.ring)-2].public()
		return nil
	})
	if err != nil {
		return SigningKey{}, err
	}
	return key, nil
}

func unknown(name string) error {
	return cardbroker.Errorf(cardbroker.Invalid, "no tenant and no API key %q is enrolled", name)
}
