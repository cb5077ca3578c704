// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package issuer_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/broker/issuer"
	"github.com/cardbroker/cardbroker/broker/tenant"
	"github.com/cardbroker/cardbroker/internal/jose"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/store"
)

const door = "wss://door.example:8443"

// site is a state directory and the issuer that runs on it.
type site struct {
	*issuer.Issuer
	t     testing.TB
	dir   string
	cfg   issuer.Config
	log   bytes.Buffer
	fails atomic.Bool // the ledger
	store *store.Store
	loops *run.Group
}

// newSite starts an issuer on a real store.
func newSite(t testing.TB, cfg issuer.Config) *site {
	t.Helper()
	s := &site{t: t, dir: filepath.Join(t.TempDir(), "state"), cfg: cfg}
	s.cfg.URL = door
	s.start()
	t.Cleanup(s.stop)
	return s
}

func (s *site) keyFile() string { return filepath.Join(s.dir, "issuer.json") }

func (s *site) start() {
	s.t.Helper()
	if err := s.open(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) open() error {
	var err error
	if s.store, err = store.Open(filepath.Join(s.dir, "registry.db"), store.Options{}); err != nil {
		return err
	}
	shelf, err := s.store.Shelf("api keys")
	if err != nil {
		return err
	}
	s.cfg.KeyFile = s.keyFile()
	log := slog.New(slog.NewTextHandler(&s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if s.Issuer, err = issuer.New(s.t.Context(), s.cfg, ledger{shelf, &s.fails}, log); err != nil {
		s.store.Close()
		return err
	}
	s.loops = run.New(context.WithoutCancel(s.t.Context()))
	s.loops.Go("issuer", s.Issuer.Run)
	return nil
}

func (s *site) stop() {
	if s.loops != nil {
		s.loops.Stop()
		s.store.Close()
		s.loops = nil
	}
}

func (s *site) restart() {
	s.t.Helper()
	s.stop()
	s.start()
}

// ledger is the real one, on a disk that may be full.
type ledger struct {
	*store.Shelf
	fails *atomic.Bool
}

func (l ledger) Commit(ctx context.Context, values map[string][]byte, drop []string) error {
	if l.fails.Load() {
		return cardbroker.Wrapf(io.ErrShortWrite, cardbroker.Unavailable, "the store cannot be written")
	}
	return l.Shelf.Commit(ctx, values, drop)
}

// anywhere admits every tenant.
func anywhere(cardbroker.Tenant) bool { return true }

func (s *site) enrol(tenant cardbroker.Tenant) (issuer.APIKey, cardbroker.Secret) {
	s.t.Helper()
	key, secret, err := s.Enrol(s.t.Context(), tenant)
	if err != nil {
		s.t.Fatalf("Enrol(%s) = %v", tenant, err)
	}
	return key, secret
}

func (s *site) exchange(key cardbroker.Secret) string {
	s.t.Helper()
	token, err := s.Exchange(key, anywhere)
	if err != nil {
		s.t.Fatalf("Exchange() = %v", err)
	}
	return string(token.Text.Reveal())
}

// authenticate asks the door's authority whose the token is.
func (s *site) authenticate(token string) (cardbroker.Tenant, error) {
	return s.authenticateFrom(token, "192.0.2.7:40000")
}

func (s *site) authenticateFrom(token, address string) (cardbroker.Tenant, error) {
	s.t.Helper()
	authority, err := tenant.New(s.t.Context(), tenant.Config{
		Issuers:   []tenant.Issuer{{Verifier: s.Verifier(), Keys: s.Issuer, Tenant: s.Tenant, Bearer: true}},
		Addresses: map[cardbroker.Tenant][]netip.Prefix{"shop": {netip.MustParsePrefix("192.0.2.0/24")}},
		Log:       slog.New(slog.DiscardHandler),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	request := &http.Request{RemoteAddr: address, Header: http.Header{"Authorization": {"Bearer " + token}}}
	who, err := authority.Authenticate(request.WithContext(s.t.Context()))
	return who.Tenant, err
}

// wantTenant fails unless the token is good for the tenant.
func (s *site) wantTenant(what, token string, want cardbroker.Tenant) {
	s.t.Helper()
	if tenant, err := s.authenticate(token); err != nil || tenant != want {
		s.t.Errorf("%s: Authenticate = %q, %v, want %q", what, tenant, err, want)
	}
}

func (s *site) wantRefused(what, token string, rule cardbroker.Rule) {
	s.t.Helper()
	tenant, err := s.authenticate(token)
	if cardbroker.ReasonOf(err) != cardbroker.Unauthenticated || cardbroker.RuleOf(err) != rule {
		s.t.Errorf("%s: Authenticate = %q, %v, want unauthenticated by %s", what, tenant, err, rule)
	}
}

func (s *site) rotate() issuer.SigningKey {
	s.t.Helper()
	key, err := s.Rotate(s.t.Context())
	if err != nil {
		s.t.Fatalf("Rotate() = %v", err)
	}
	return key
}

// kid returns which key has signed a token.
func kid(t testing.TB, token string) string {
	t.Helper()
	_, kid, err := jose.Hint(token)
	if err != nil {
		t.Fatal(err)
	}
	return kid
}

// payload returns a token's claims.
func payload(t testing.TB, token string) map[string]any {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	var claims map[string]any
	if err := errors.Join(err, json.Unmarshal(text, &claims)); err != nil {
		t.Fatal(err)
	}
	return claims
}
