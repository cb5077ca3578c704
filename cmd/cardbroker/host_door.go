// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/broker"
	"github.com/cardbroker/cardbroker/broker/issuer"
	"github.com/cardbroker/cardbroker/broker/tenant"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/jose"
	"github.com/cardbroker/cardbroker/internal/tlsfile"
	"github.com/cardbroker/cardbroker/store"
)

// What the door keeps in the state directory.
const (
	usedTokens  = "used tokens"       // shelf of the store: JWTs that have opened their tunnel
	apiKeys     = "api keys"          // shelf of the store: hashes of API keys
	signingKeys = "signing-keys.json" // file: the private keys that our own tokens are signed by
)

// openDoor opens the door for back ends, if one is configured.
func openDoor(ctx context.Context, cfg config.Host, ledger *store.Store, log *slog.Logger) (*broker.Backend, error) {
	door := cfg.Backend
	if door.Listen == "" {
		return nil, nil
	}
	if door.Cert == "" || door.Key == "" {
		return nil, cardbroker.Errorf(cardbroker.Invalid, "--backend-listen needs --backend-cert and --backend-key")
	}
	pair, err := tlsfile.Load(door.Cert, door.Key, log, nil)
	if err != nil {
		return nil, err
	}
	listener, err := httpserver.Listen(ctx, "tcp", door.Listen)
	if err != nil {
		return nil, cardbroker.Wrapf(err, cardbroker.Unavailable, "cannot listen for back ends at %s", door.Listen)
	}
	url := cmp.Or(door.URL, "wss://"+reachable(listener.Addr(), hostName(cfg.Host)))
	own, err := newIssuer(ctx, cfg, url, doorNeeds{ledger, log})
	if err != nil {
		listener.Close()
		return nil, err
	}
	tenants, err := newTenants(ctx, cfg, own, doorNeeds{ledger, log})
	if err != nil {
		listener.Close()
		return nil, err
	}
	return &broker.Backend{
		Listen: listener,
		// Certificates of clients are asked for here and judged with each request.
		TLS:     &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: pair.GetCertificate, ClientAuth: tls.RequestClientCert},
		Tenants: tenants,
		Issuer:  own,
		URL:     url,
	}, nil
}

// doorNeeds is what everybody at the door is given.
type doorNeeds struct {
	ledger *store.Store
	log    *slog.Logger
}

// newIssuer returns who issues tokens for API keys, in the door's name.
func newIssuer(ctx context.Context, cfg config.Host, url string, needs doorNeeds) (*issuer.Issuer, error) {
	shelf, err := needs.ledger.Shelf(apiKeys)
	if err != nil {
		return nil, err
	}
	own := issuer.Config{URL: url, KeyFile: filepath.Join(cfg.State, signingKeys)}
	own.Life, own.Rotate = cfg.Issuer.Durations()
	return issuer.New(ctx, own, shelf, needs.log)
}

// newTenants turns the configuration into who may come to the door.
func newTenants(ctx context.Context, cfg config.Host, own *issuer.Issuer, needs doorNeeds) (*tenant.Authority, error) {
	shelf, err := needs.ledger.Shelf(usedTokens)
	if err != nil {
		return nil, err
	}
	known := tenant.Config{
		Tenants:   make(map[cardbroker.Tenant]tenant.Tenant),
		Addresses: make(map[cardbroker.Tenant][]netip.Prefix),
		Issuers:   []tenant.Issuer{{Verifier: own.Verifier(), Keys: own, Tenant: own.Tenant, Bearer: true}},
		Shelf:     shelf,
		Log:       needs.log,
	}
	if cfg.Backend.Tokens != "" {
		if known.Tokens, err = tenant.ReadTokens(cfg.Backend.Tokens); err != nil {
			return nil, err
		}
	}
	for text, t := range cfg.Tenants {
		name := cardbroker.Tenant(text) // the configuration was checked
		for _, prefix := range t.Addresses {
			known.Addresses[name] = append(known.Addresses[name], netip.MustParsePrefix(prefix).Masked())
		}
		certificates, err := tenantCertificates(t)
		if err != nil {
			return nil, err
		}
		known.Tenants[name] = tenant.Tenant{Certificates: certificates}
		if t.JWT != nil {
			foreign, err := tenantIssuer(name, *t.JWT, needs.log)
			if err != nil {
				return nil, err
			}
			known.Issuers = append(known.Issuers, foreign)
		}
	}
	return tenant.New(ctx, known)
}

func tenantCertificates(t config.Tenant) ([]tenant.Certificate, error) {
	var certificates []tenant.Certificate
	for _, c := range t.Certificates {
		known := tenant.Certificate{Name: c.Name}
		hex.Decode(known.SHA256[:], []byte(c.SHA256)) // the configuration was checked
		var err error
		if c.CA != "" {
			if known.CA, err = readCA(c.CA); err != nil {
				return nil, err
			}
		}
		certificates = append(certificates, known)
	}
	return certificates, nil
}

func tenantIssuer(name cardbroker.Tenant, j config.TenantJWT, log *slog.Logger) (tenant.Issuer, error) {
	issuer := tenant.Issuer{
		Verifier: jose.Verifier{Algorithms: j.Algorithms, Issuer: j.Issuer, Audience: j.Audience, Subject: j.Subject, Leeway: jose.MaxLeeway},
		Tenant:   func(jose.Claims) (cardbroker.Tenant, bool) { return name, true },
		Bearer:   j.Replay == "bearer",
	}
	if len(j.Algorithms) == 0 {
		issuer.Algorithms = []string{"ES256"}
	}
	issuer.MaxLife, _ = time.ParseDuration(j.MaxLife) // the configuration was checked; nothing: the default
	if j.KeysFile != "" {
		keys, err := tenant.NewFileKeys(j.KeysFile, log)
		issuer.Keys = keys
		return issuer, err
	}
	var roots *x509.CertPool
	if j.CA != "" {
		var err error
		if roots, err = readCA(j.CA); err != nil {
			return issuer, err
		}
	}
	issuer.Keys = tenant.NewURLKeys(j.KeysURL, roots, log)
	return issuer, nil
}

// readCA reads who vouches for certificates, PEM.
func readCA(path string) (*x509.CertPool, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, cardbroker.Wrapf(err, cardbroker.Invalid, "cannot read the certificates %s", path)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, cardbroker.Errorf(cardbroker.Invalid, "%s holds no PEM certificate", path)
	}
	return pool, nil
}
