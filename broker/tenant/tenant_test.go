// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package tenant_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	library "github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/broker/tenant"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/jose"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/store"
)

// idp is an identity provider with one key at a time.
type idp struct {
	t   testing.TB
	kid string
	key *ecdsa.PrivateKey
}

func newIDP(t testing.TB, kid string) *idp {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &idp{t: t, kid: kid, key: key}
}

func (i *idp) jwks() []byte {
	text, err := json.Marshal(library.JSONWebKeySet{Keys: []library.JSONWebKey{{Key: i.key.Public(), KeyID: i.kid}}})
	if err != nil {
		i.t.Fatal(err)
	}
	return text
}

// keys is the published set, as a source.
func (i *idp) keys() tenant.KeySet {
	set, err := jose.ParseKeySet(i.jwks())
	if err != nil {
		i.t.Fatal(err)
	}
	return tenant.KeySet{Set: set}
}

// issue makes a token about a subject with that id, valid from then for five minutes.
func (i *idp) issue(subject, id string, from time.Time) string {
	i.t.Helper()
	signer, err := library.NewSigner(library.SigningKey{Algorithm: library.ES256, Key: library.JSONWebKey{Key: i.key, KeyID: i.kid}}, nil)
	if err != nil {
		i.t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(jwt.Claims{Issuer: "https://idp", Subject: subject, Audience: jwt.Audience{"door"}, ID: id,
		IssuedAt: jwt.NewNumericDate(from), Expiry: jwt.NewNumericDate(from.Add(5 * time.Minute))}).Serialize()
	if err != nil {
		i.t.Fatal(err)
	}
	return token
}

// issuer believes in tokens about subject, as the tenant's of that name.
func issuer(subject string, keys tenant.Keys) tenant.Issuer {
	return tenant.Issuer{
		Verifier: jose.Verifier{Algorithms: []string{"ES256"}, Issuer: "https://idp", Audience: "door", Subject: subject},
		Keys:     keys,
		Tenant:   func(jose.Claims) (cardbroker.Tenant, bool) { return cardbroker.Tenant(subject), true },
	}
}

func newAuthority(t testing.TB, cfg tenant.Config) *tenant.Authority {
	t.Helper()
	a, err := tenant.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	group := run.New(t.Context())
	group.Go("tenants", a.Run)
	t.Cleanup(func() { group.Stop() })
	return a
}

// request comes from an address with a token, if any, over TLS with a chain, if any.
func request(token, from string, chain ...*x509.Certificate) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/cb/v1/readers", nil)
	r.RemoteAddr = from
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	r.TLS = &tls.ConnectionState{PeerCertificates: chain}
	return r
}

const somewhere = "192.0.2.1:4000"

// vouch makes a certificate with a key of its own; parent nil: for itself.
func vouch(t testing.TB, template x509.Certificate, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	if template.NotBefore.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-100*time.Hour), time.Now().Add(100*time.Hour)
	}
	template.BasicConstraintsValid = true
	if parent == nil {
		parent, by = &template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c, key
}

// TestCertificates shows certificates that are a tenant's, and ones that are nearly.
func TestCertificates(t *testing.T) {
	forClients := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	ca, caKey := vouch(t, x509.Certificate{Subject: pkix.Name{CommonName: "ca"}, IsCA: true, KeyUsage: x509.KeyUsageCertSign}, nil, nil)
	evil, evilKey := vouch(t, x509.Certificate{Subject: pkix.Name{CommonName: "ca"}, IsCA: true, KeyUsage: x509.KeyUsageCertSign}, nil, nil)
	leaf := func(change func(*x509.Certificate), parent *x509.Certificate, by *ecdsa.PrivateKey) *x509.Certificate {
		template := x509.Certificate{DNSNames: []string{"backend.acme.example"}, ExtKeyUsage: forClients}
		change(&template)
		c, _ := vouch(t, template, parent, by)
		return c
	}
	asIs := func(*x509.Certificate) {}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	oldCA, oldKey := vouch(t, x509.Certificate{Subject: pkix.Name{CommonName: "old"}, IsCA: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-100 * time.Hour), NotAfter: time.Now().Add(-time.Hour)}, nil, nil)
	roots.AddCert(oldCA)
	pinned := leaf(asIs, nil, nil)
	late := func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-72*time.Hour), time.Now().Add(-48*time.Hour)
	}
	early := func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(3*time.Hour), time.Now().Add(48*time.Hour)
	}
	oldPinned := leaf(late, nil, nil)
	pinnedServer := leaf(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, nil, nil)
	a := newAuthority(t, tenant.Config{Tenants: map[cardbroker.Tenant]tenant.Tenant{
		"acme": {Certificates: []tenant.Certificate{{CA: roots, Name: "backend.acme.example"}}},
		"rival": {Certificates: []tenant.Certificate{{SHA256: sha256.Sum256(pinned.Raw)}, {SHA256: sha256.Sum256(oldPinned.Raw)},
			{SHA256: sha256.Sum256(pinnedServer.Raw)}}},
	}})
	for _, test := range []struct {
		name string
		leaf *x509.Certificate
		want cardbroker.Tenant
		rule cardbroker.Rule
	}{
		{"by its CA", leaf(asIs, ca, caKey), "acme", ""},
		{"pinned", pinned, "rival", ""},
		{"by a CA of the same name", leaf(asIs, evil, evilKey), "", cardbroker.RuleToken},
		{"by a CA that has ended", leaf(asIs, oldCA, oldKey), "", cardbroker.RuleToken},
		{"by itself", leaf(asIs, nil, nil), "", cardbroker.RuleToken},
		{"another name", leaf(func(c *x509.Certificate) { c.DNSNames = []string{"acme.example"} }, ca, caKey), "", cardbroker.RuleToken},
		{"the name as its common name only, with others", leaf(func(c *x509.Certificate) {
			c.DNSNames, c.Subject.CommonName = []string{"x.example"}, "backend.acme.example"
		}, ca, caKey), "", cardbroker.RuleToken},
		{"a wildcard", leaf(func(c *x509.Certificate) { c.DNSNames = []string{"*.acme.example"} }, ca, caKey), "", cardbroker.RuleToken},
		{"for servers", leaf(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, ca, caKey), "", cardbroker.RuleToken},
		{"pinned, for servers", pinnedServer, "", cardbroker.RuleToken},
		{"expired", leaf(late, ca, caKey), "", cardbroker.RuleTokenTime},
		{"not yet valid", leaf(early, ca, caKey), "", cardbroker.RuleTokenTime},
		{"pinned and expired", oldPinned, "", cardbroker.RuleTokenTime},
	} {
		got, err := a.Authenticate(request("", somewhere, test.leaf))
		if got.Tenant != test.want || cardbroker.RuleOf(err) != test.rule {
			t.Errorf("%s: Authenticate = %+v, %v, want %q, rule %q", test.name, got, err, test.want, test.rule)
		}
		if test.name == "expired" && (err == nil || !strings.Contains(err.Error(), ", 48h0m")) {
			t.Errorf("expired: %v, want by how much", err)
		}
	}
	often := leaf(func(c *x509.Certificate) { c.DNSNames = slices.Repeat([]string{"backend.acme.example"}, 500) }, evil, evilKey)
	if n := len(tenant.Names(often)); n != 1 {
		t.Errorf("a certificate with one name 500 times makes the broker look for a CA %d times, want once", n)
	}
	if _, err := a.Authenticate(request("", somewhere)); cardbroker.RuleOf(err) != cardbroker.RuleToken {
		t.Errorf("nothing at all: %v", err)
	}
}

// TestStolenJWT shows tokens of others, and a tenant's own from elsewhere: all are refused with the same words.
func TestStolenJWT(t *testing.T) {
	i, mallory := newIDP(t, "1"), newIDP(t, "1")
	now := time.Now()
	a := newAuthority(t, tenant.Config{
		Issuers:   []tenant.Issuer{issuer("acme", i.keys()), issuer("rival", i.keys())},
		Addresses: map[cardbroker.Tenant][]netip.Prefix{"rival": {netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}},
	})
	for _, test := range []struct {
		name, token, from string
		want              cardbroker.Tenant
		rule              cardbroker.Rule
	}{
		{"good", i.issue("acme", "1", now), somewhere, "acme", ""},
		{"good, from its network", i.issue("rival", "1", now), "10.1.2.3:9", "rival", ""},
		{"good, IPv6", i.issue("rival", "1", now), "[2001:db8::1%eth0]:9", "rival", ""},
		{"good, IPv4 in IPv6", i.issue("rival", "1", now), "[::ffff:10.1.2.3]:9", "rival", ""},
		{"from elsewhere", i.issue("rival", "1", now), somewhere, "", cardbroker.RuleToken},
		{"nobody's", i.issue("other", "1", now), somewhere, "", cardbroker.RuleToken},
		{"signed by another", mallory.issue("acme", "1", now), somewhere, "", cardbroker.RuleToken},
		{"old", i.issue("acme", "1", now.Add(-time.Hour)), somewhere, "", cardbroker.RuleTokenTime},
		{"of tomorrow", i.issue("acme", "1", now.Add(24*time.Hour)), somewhere, "", cardbroker.RuleTokenTime},
		{"old, and signed by another", mallory.issue("acme", "1", now.Add(-time.Hour)), somewhere, "", cardbroker.RuleToken},
		{"old, and nobody's", i.issue("other", "1", now.Add(-time.Hour)), somewhere, "", cardbroker.RuleToken},
		{"garbage", "a.b.c", somewhere, "", cardbroker.RuleToken},
		{"huge", strings.Repeat("x", 1<<20), somewhere, "", cardbroker.RuleToken},
	} {
		got, err := a.Authenticate(request(test.token, test.from))
		if got.Tenant != test.want || cardbroker.RuleOf(err) != test.rule {
			t.Errorf("%s: Authenticate = %+v, %v, want %q, rule %q", test.name, got, err, test.want, test.rule)
		}
		if e, ok := errors.AsType[*cardbroker.Error](err); ok && test.rule == cardbroker.RuleToken && e.Message != "the token is missing or unknown" {
			t.Errorf("%s: says %q to the back end", test.name, e.Message)
		}
	}
}

// newShelf opens a store in a file.
func newShelf(t testing.TB, path string) (*store.Store, *store.Shelf) {
	t.Helper()
	s, err := store.Open(path, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	shelf, err := s.Shelf("used tokens")
	if err != nil {
		t.Fatal(err)
	}
	return s, shelf
}

// TestReplay: a token opens one tunnel, also if the broker was killed meanwhile, and however many try at once.
func TestReplay(t *testing.T) {
	path, i := filepath.Join(t.TempDir(), "registry.db"), newIDP(t, "1")
	kept, shelf := newShelf(t, path)
	cfg := tenant.Config{Issuers: []tenant.Issuer{issuer("acme", i.keys())}, Shelf: shelf}
	group := run.New(t.Context())
	a, err := tenant.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	group.Go("tenants", a.Run)
	token := i.issue("acme", "7", time.Now())
	who, err := a.Authenticate(request(token, somewhere))
	if err != nil {
		t.Fatal(err)
	}
	const tries = 50
	answers := make(chan error, tries)
	for range tries {
		group.Go("back end", func(ctx context.Context) error { answers <- a.Burn(ctx, who); return nil })
	}
	won := 0
	for range tries {
		if err := <-answers; err == nil {
			won++
		} else if cardbroker.ReasonOf(err) != cardbroker.Unauthenticated {
			t.Errorf("Burn = %v", err)
		}
	}
	if won != 1 {
		t.Errorf("one token opened %d tunnels", won)
	}
	group.Stop()
	kept.Close()

	kept, shelf = newShelf(t, path)
	defer kept.Close()
	cfg.Shelf = shelf
	a = newAuthority(t, cfg)
	who, err = a.Authenticate(request(token, somewhere))
	if err != nil {
		t.Fatalf("for lists it is good for its life: %v", err)
	}
	if err := a.Burn(t.Context(), who); cardbroker.RuleOf(err) != cardbroker.RuleToken {
		t.Errorf("after a restart Burn = %v, want a refusal", err)
	}
	other, err := a.Authenticate(request(i.issue("acme", "8", time.Now()), somewhere))
	if err != nil || a.Burn(t.Context(), other) != nil {
		t.Errorf("another token: %v", err)
	}
}

// TestReplayNotKept: what cannot be kept opens nothing.
func TestReplayNotKept(t *testing.T) {
	i := newIDP(t, "1")
	kept, shelf := newShelf(t, filepath.Join(t.TempDir(), "registry.db"))
	a := newAuthority(t, tenant.Config{Issuers: []tenant.Issuer{issuer("acme", i.keys())}, Shelf: shelf})
	who, err := a.Authenticate(request(i.issue("acme", "7", time.Now()), somewhere))
	if err != nil {
		t.Fatal(err)
	}
	kept.Close()
	if err := a.Burn(t.Context(), who); cardbroker.ReasonOf(err) != cardbroker.Unavailable {
		t.Errorf("Burn = %v, want unavailable", err)
	}
}

// memory is a Shelf without a disk. It says how much is on it.
type memory struct{ size atomic.Int64 }

func (m *memory) Load(context.Context) (map[string][]byte, error) { return nil, nil }

func (m *memory) Commit(_ context.Context, put map[string][]byte, drop []string) error {
	m.size.Add(int64(len(put) - len(drop)))
	return nil
}

// TestUsedTokensAreForgotten: what is kept does not grow for ever, and not before a clock that is set back could revive it.
func TestUsedTokensAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i, kept := newIDP(t, "1"), &memory{}
		ctx, cancel := context.WithCancel(context.Background())
		a, err := tenant.New(ctx, tenant.Config{Issuers: []tenant.Issuer{issuer("acme", i.keys())}, Shelf: kept})
		if err != nil {
			t.Fatal(err)
		}
		group := run.New(ctx)
		group.Go("tenants", a.Run)
		who, err := a.Authenticate(request(i.issue("acme", "7", time.Now()), somewhere))
		if err != nil || a.Burn(ctx, who) != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if kept.size.Load() != 1 {
			t.Error("it was forgotten within an hour of its end")
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if kept.size.Load() != 0 {
			t.Error("it is kept for ever")
		}
		cancel()
		group.Wait()
	})
}

// serveTLS serves on a port of 127.0.0.1 until the end of the test.
func serveTLS(t *testing.T, handler http.Handler) (url string, roots *x509.CertPool) {
	t.Helper()
	leaf, key := vouch(t, x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, nil, nil)
	listener, err := httpserver.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := httpserver.NewHTTP(handler, slog.New(slog.DiscardHandler))
	server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}}}
	group := run.New(t.Context())
	group.Go("idp", func(ctx context.Context) error { return httpserver.Serve(ctx, server, listener) })
	t.Cleanup(func() { group.Stop() })
	roots = x509.NewCertPool()
	roots.AddCert(leaf)
	return "https://" + listener.Addr().String(), roots
}

// TestKeysFromURL plays an identity provider that rotates its keys, goes down and comes back.
func TestKeysFromURL(t *testing.T) {
	var fetches atomic.Int64
	var answer atomic.Pointer[[]byte] // nil: it is down
	url, roots := serveTLS(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fetches.Add(1)
		if text := answer.Load(); text != nil {
			w.Write(*text)
			return
		}
		w.WriteHeader(http.StatusBadGateway)
	}))
	first, second := newIDP(t, "1"), newIDP(t, "2")
	publish := func(i *idp) { text := i.jwks(); answer.Store(&text) }
	publish(first)
	keys := tenant.NewURLKeys(url, roots, slog.New(slog.DiscardHandler))
	a := newAuthority(t, tenant.Config{Issuers: []tenant.Issuer{issuer("acme", keys)}})
	good := func(i *idp) bool {
		_, err := a.Authenticate(request(i.issue("acme", "1", time.Now()), somewhere))
		return err == nil
	}
	if !good(first) || good(second) {
		t.Fatal("the published key's token is refused, or another's is not")
	}
	publish(second)
	for range 100 { // who sends tokens of unknown keys makes nobody fetch
		good(second)
	}
	if n := fetches.Load(); n != 1 {
		t.Errorf("%d fetches within a minute, want 1", n)
	}
	tenant.Age(keys, 2*time.Minute)
	if !good(second) || good(first) {
		t.Error("after a minute the new key is not known, or the old one still is")
	}
	answer.Store(nil)
	tenant.Age(keys, 11*time.Minute)
	if !good(second) {
		t.Error("the set is lost while the provider is down")
	}
	tenant.Age(keys, 25*time.Hour)
	if good(second) {
		t.Error("a set that could not be fetched for a day is believed")
	}
	publish(second)
	tenant.Age(keys, 2*time.Minute)
	if !good(second) {
		t.Error("the provider is back, and nobody knows")
	}
	untrusted := tenant.NewURLKeys(url, x509.NewCertPool(), slog.New(slog.DiscardHandler))
	if _, err := untrusted.Keys(t.Context(), "2"); cardbroker.ReasonOf(err) != cardbroker.Unavailable {
		t.Errorf("a server that nobody vouches for: %v, want unavailable", err)
	}
}

// countedKeys counts who asks for the keys: once for each signature that is checked.
type countedKeys struct {
	tenant.KeySet
	asked atomic.Int64
}

func (c *countedKeys) Keys(ctx context.Context, kid string) (jose.KeySet, error) {
	c.asked.Add(1)
	return c.KeySet.Keys(ctx, kid)
}

// TestManyTenants: a token costs one signature check, however many tenants its provider has, and a forged one no more.
func TestManyTenants(t *testing.T) {
	i, mallory := newIDP(t, "1"), newIDP(t, "1")
	keys := &countedKeys{KeySet: i.keys()}
	cfg := tenant.Config{Tenants: make(map[cardbroker.Tenant]tenant.Tenant)}
	for n := range 1000 {
		name := fmt.Sprintf("t%d", n)
		cfg.Issuers = append(cfg.Issuers, issuer(name, keys))
	}
	a := newAuthority(t, cfg)
	for _, test := range []struct {
		token string
		want  cardbroker.Tenant
		asked int64
	}{
		{i.issue("t999", "1", time.Now()), "t999", 1},
		{mallory.issue("t999", "1", time.Now()), "", 1},
		{i.issue("t1000", "1", time.Now()), "", 0},
		{i.issue("", "1", time.Now()), "", 0},
	} {
		got, err := a.Authenticate(request(test.token, somewhere))
		if got.Tenant != test.want || (err == nil) != (test.want != "") {
			t.Errorf("Authenticate = %+v, %v, want %q", got, err, test.want)
		}
		if asked := keys.asked.Swap(0); asked != test.asked {
			t.Errorf("of %q the keys were asked for %d times, want %d", test.want, asked, test.asked)
		}
	}
	cfg.Issuers = append(cfg.Issuers, issuer("t5", keys))
	if _, err := tenant.New(t.Context(), cfg); cardbroker.ReasonOf(err) != cardbroker.Invalid {
		t.Errorf("two tenants of one subject: %v, want invalid", err)
	}
}

// BenchmarkAuthenticate has a thousand tenants of one provider, and shows what who is who costs beside the bare signature.
func BenchmarkAuthenticate(b *testing.B) {
	i := newIDP(b, "1")
	kept, shelf := newShelf(b, filepath.Join(b.TempDir(), "registry.db"))
	defer kept.Close()
	leaf, _ := vouch(b, x509.Certificate{DNSNames: []string{"x"}}, nil, nil)
	file := filepath.Join(b.TempDir(), "tokens")
	if err := os.WriteFile(file, []byte("acme 0123456789abcdef\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	tokens, err := tenant.ReadTokens(file)
	if err != nil {
		b.Fatal(err)
	}
	cfg := tenant.Config{Tokens: tokens, Shelf: shelf,
		Tenants: map[cardbroker.Tenant]tenant.Tenant{"rival": {Certificates: []tenant.Certificate{{SHA256: sha256.Sum256(leaf.Raw)}}}}}
	for n := range 1000 {
		cfg.Issuers = append(cfg.Issuers, issuer(fmt.Sprintf("t%d", n), i.keys()))
	}
	a := newAuthority(b, cfg)
	token := i.issue("t999", "1", time.Now())
	for name, r := range map[string]*http.Request{
		"token": request("0123456789abcdef", somewhere), "certificate": request("", somewhere, leaf), "JWT": request(token, somewhere),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := a.Authenticate(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("signature alone", func(b *testing.B) {
		digest := sha256.Sum256([]byte(token))
		signature, err := ecdsa.SignASN1(rand.Reader, i.key, digest[:])
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			ecdsa.VerifyASN1(&i.key.PublicKey, digest[:], signature)
		}
	})
	var used atomic.Int64
	burn := func(b *testing.B) {
		who, err := a.Authenticate(request(i.issue("t0", fmt.Sprint("burn", used.Add(1)), time.Now()), somewhere))
		if err == nil {
			err = a.Burn(b.Context(), who)
		}
		if err != nil {
			b.Error(err)
		}
	}
	b.Run("JWT, made and used up", func(b *testing.B) {
		for b.Loop() {
			burn(b)
		}
	})
	b.Run("JWT, made and used up, 64 at once", func(b *testing.B) {
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				burn(b)
			}
		})
	})
}
