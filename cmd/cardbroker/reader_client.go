// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"os"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader"
)

// client returns a client of the brokers that were named. What says who the back end is, is read now, to tell what is wrong
// with it, and again when it is needed: it may be renewed meanwhile.
func (f *readerFlags) client() (*virtualreader.Client, error) {
	switch {
	case f.called != nil:
		return virtualreader.New(virtualreader.Config{Rendezvous: f.called})
	case len(f.brokers) == 0:
		return nil, cardbroker.Errorf(cardbroker.Invalid, "name a broker with --broker wss://host:port, or listen for brokers with --listen")
	case (f.certFile == "") != (f.keyFile == ""):
		return nil, cardbroker.Errorf(cardbroker.Invalid, "--cert and --key go together")
	case f.tokenFile != "" && f.apiKeyFile != "":
		return nil, cardbroker.Errorf(cardbroker.Invalid, "--token-file and --api-key-file do not go together")
	case f.tokenFile == "" && f.apiKeyFile == "" && f.certFile == "":
		return nil, cardbroker.Errorf(cardbroker.Invalid,
			"name the file of this tenant's token with --token-file, of its API key with --api-key-file, or its certificate with --cert and --key")
	}
	cfg := virtualreader.Config{Brokers: f.brokers, TLS: &tls.Config{MinVersion: tls.VersionTLS13}}
	if f.caFile != "" {
		roots, err := readCA(f.caFile)
		if err != nil {
			return nil, err
		}
		cfg.TLS.RootCAs = roots
	}
	if f.certFile != "" {
		if _, err := f.certificate(); err != nil {
			return nil, err
		}
		cfg.TLS.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return f.certificate() }
	}
	if f.tokenFile != "" {
		if _, err := f.token(); err != nil {
			return nil, err
		}
		cfg.Renew = func(context.Context, string) (cardbroker.Secret, error) { return f.token() }
	}
	if f.apiKeyFile != "" {
		if _, err := f.apiKey(); err != nil {
			return nil, err
		}
		cfg.APIKey = func(context.Context) (cardbroker.Secret, error) { return f.apiKey() }
	}
	return virtualreader.New(cfg)
}

// apiKey reads the file anew, so that a key can be replaced while a program runs. It lasts until it is revoked: so nobody else
// may read it.
func (f *readerFlags) apiKey() (cardbroker.Secret, error) {
	return privateFile("API key", f.apiKeyFile)
}

// privateFile reads a secret from a file that nobody else may read.
func privateFile(what, path string) (cardbroker.Secret, error) {
	info, err := os.Stat(path)
	if err != nil {
		return cardbroker.Secret{}, cardbroker.Wrapf(err, cardbroker.Invalid, "cannot read the %s file %s", what, path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return cardbroker.Secret{}, cardbroker.Errorf(cardbroker.Invalid, "the %s file %s has mode %04o: others could read it; chmod 0600", what, path, mode)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return cardbroker.Secret{}, cardbroker.Wrapf(err, cardbroker.Invalid, "cannot read the %s file %s", what, path)
	}
	return cardbroker.NewSecret(bytes.TrimSpace(text)), nil
}

func (f *readerFlags) token() (cardbroker.Secret, error) {
	text, err := os.ReadFile(f.tokenFile)
	if err != nil {
		return cardbroker.Secret{}, cardbroker.Wrapf(err, cardbroker.Invalid, "cannot read the token file %s", f.tokenFile)
	}
	return cardbroker.NewSecret(bytes.TrimSpace(text)), nil
}

func (f *readerFlags) certificate() (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(f.certFile, f.keyFile)
	if err != nil {
		return nil, cardbroker.Wrapf(err, cardbroker.Invalid, "cannot use the certificate %s and its key %s", f.certFile, f.keyFile)
	}
	return &pair, nil
}
