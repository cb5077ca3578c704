// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/broker"
	"github.com/cardbroker/cardbroker/broker/localca"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/loop"
	"github.com/cardbroker/cardbroker/internal/tlsfile"
)

// tlsDir is where the certificates of the host's own authority are in the state directory.
const tlsDir = "tls"

// openBrowsers opens what web pages get besides the well-known port.
func openBrowsers(ctx context.Context, cfg config.Host, log *slog.Logger) (broker.Browsers, error) {
	var b broker.Browsers
	if cfg.TLS.Enabled() {
		certificates, err := openCertificates(cfg, log)
		if err != nil {
			return b, err
		}
		b.TLS = &broker.TLS{
			Config: browserTLS(certificates.get),
			Plain:  cfg.TLS.PlainAllowed(),
			Name:   cfg.TLS.Name,
			Status: certificates.status,
			Loaded: certificates.loaded,
		}
	}
	for _, fixed := range cfg.FixedPorts {
		listeners, err := httpserver.ListenLoopback(ctx, fixed.Port)
		if err != nil {
			closeFixed(b)
			return b, err
		}
		b.Fixed = append(b.Fixed, broker.Fixed{Listen: listeners, TLS: fixed.TLS})
	}
	return b, nil
}

func closeFixed(b broker.Browsers) {
	for _, fixed := range b.Fixed {
		closeAll(fixed.Listen)
	}
}

// browserTLS is what is spoken with browsers. There are no session tickets: they would have to be renewed and kept apart, and
// save nothing that is worth it on loopback.
func browserTLS(get func(*tls.ClientHelloInfo) (*tls.Certificate, error)) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS12,
		NextProtos:             []string{"http/1.1"},
		GetCertificate:         get,
		SessionTicketsDisabled: true,
	}
}

// certificates are what web pages are shown.
type certificates struct {
	get    func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	status func() api.Check
	loaded <-chan struct{} // signals others; nil: there will be none
}

// openCertificates reads the administrator's certificate, or those of the host's own authority, which are made where they
// are missing.
func openCertificates(cfg config.Host, log *slog.Logger) (certificates, error) {
	if !cfg.TLS.LocalCA {
		return ownCertificate(cfg.TLS, log)
	}
	dir := filepath.Join(cfg.State, tlsDir)
	exist, err := localca.Exist(dir)
	if err == nil && !exist {
		if err = localca.Make(dir, hostName(cfg.Host), time.Now()); err == nil {
			log.Warn("certificates were made: have browsers trust what `cardbroker host tls ca` prints")
		}
	}
	if err != nil {
		return certificates{}, err
	}
	leaves, err := localca.Load(dir)
	if err != nil {
		return certificates{}, err
	}
	return certificates{get: leaves.GetCertificate, status: func() api.Check {
		return expiry(leaves.End(), caWarning, renewAuthority)
	}}, nil
}

// caWarning is how long before the end of the host's own certificates an administrator is warned: browsers have to be told.
const caWarning = 90 * 24 * time.Hour

const renewAuthority = "make new certificates with `cardbroker host tls init --force`, have browsers trust the new authority, and restart the broker"

// expiry is the doctor's word on certificates that end at a time.
func expiry(end time.Time, warning time.Duration, fix string) api.Check {
	check := api.Check{ID: "tls", Status: "ok", Detail: "the certificate for web pages is good until " + end.UTC().Format(time.DateOnly)}
	switch left := time.Until(end); {
	case left <= 0:
		check.Status, check.Fix = "fail", fix
		check.Detail = "the certificate for web pages has ended on " + end.UTC().Format(time.DateOnly)
	case left <= warning:
		check.Status, check.Fix = "warn", fix
	}
	return check
}

// ownCertificate reads the administrator's certificate, again whenever it changes.
func ownCertificate(cfg config.TLS, log *slog.Logger) (certificates, error) {
	loaded := make(chan struct{}, 1)
	pair, err := tlsfile.Load(cfg.Cert, cfg.Key, log, func(tls.Certificate) { loop.Signal(loaded) })
	if err != nil {
		return certificates{}, err
	}
	return certificates{get: pair.GetCertificate, loaded: loaded, status: func() api.Check {
		return expiry(pair.Expires(), tlsfile.WarnBefore, "renew "+cfg.Cert+" and its key; the broker takes them over by itself")
	}}, nil
}

// fixedAddresses lists where fixed ports are.
func fixedAddresses(b broker.Browsers) (all []string) {
	for _, fixed := range b.Fixed {
		all = append(all, addresses(fixed.Listen)...)
	}
	return all
}

// addresses lists where listeners are.
func addresses(listeners []net.Listener) []string {
	var all []string
	for _, listener := range listeners {
		all = append(all, listener.Addr().String())
	}
	return all
}
