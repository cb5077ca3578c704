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
	case len(f.brokers) == 0:
		return nil, cardbroker.Errorf(cardbroker.Invalid, "name a broker with --broker wss://host:port")
	case (f.certFile == "") != (f.keyFile == ""):
		return nil, cardbroker.Errorf(cardbroker.Invalid, "--cert and --key go together")
	case f.tokenFile == "" && f.certFile == "":
		return nil, cardbroker.Errorf(cardbroker.Invalid, "name the file of this tenant's token with --token-file, or its certificate with --cert and --key")
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
	return virtualreader.New(cfg)
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
