// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"log/slog"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/broker"
	"github.com/cardbroker/cardbroker/broker/dialout"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/tlsfile"
	"github.com/cardbroker/cardbroker/store"
)

// openDoors opens the ways for back ends: the port that they come to, and the rendezvous that the broker calls.
func openDoors(ctx context.Context, cfg config.Host, ledger *store.Store, log *slog.Logger) (*broker.Backend, []*dialout.Caller, error) {
	calls, err := dialOuts(cfg, log)
	if err != nil {
		return nil, nil, err
	}
	backend, err := openDoor(ctx, cfg, ledger, log)
	return backend, calls, err
}

// dialOuts turns the configuration into the rendezvous that the broker calls.
func dialOuts(cfg config.Host, log *slog.Logger) ([]*dialout.Caller, error) {
	var callers []*dialout.Caller
	for _, c := range cfg.Backend.Connect {
		to := dialout.Config{
			URL:     c.URL,
			Tenant:  cardbroker.Tenant(c.Tenant), // the configuration was checked
			TLS:     &tls.Config{MinVersion: tls.VersionTLS13},
			Proxy:   c.Proxy,
			Host:    hostName(cfg.Host),
			Version: version(),
			Log:     log,
		}
		if err := showing(&to, c, log); err != nil {
			return nil, err
		}
		caller, err := dialout.New(to)
		if err != nil {
			return nil, err
		}
		callers = append(callers, caller)
	}
	return callers, nil
}

// showing adds whom to trust, and what shows which host calls. Nobody but root and the broker's account may be able to change
// whom it trusts with a tenant's cards.
func showing(to *dialout.Config, c config.Connect, log *slog.Logger) error {
	if c.CA != "" {
		if err := ours(c.CA); err != nil {
			return err
		}
		var err error
		if to.TLS.RootCAs, err = readCA(c.CA); err != nil {
			return err
		}
	}
	if c.Cert != "" {
		pair, err := tlsfile.Load(c.Cert, c.Key, log, nil)
		if err != nil {
			return err
		}
		to.TLS.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair.GetCertificate(nil) }
	}
	if c.TokenFile != "" {
		token := func() (cardbroker.Secret, error) { return privateFile("token", c.TokenFile) }
		if _, err := token(); err != nil {
			return err
		}
		to.Token = token
	}
	return nil
}
