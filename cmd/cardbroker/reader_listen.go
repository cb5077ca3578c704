// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/tlsfile"
	"github.com/cardbroker/cardbroker/virtualreader/rendezvous"
)

// listenTimeout is for each request with --listen, unless the user says otherwise: hosts that found nobody call again within it.
const listenTimeout = 2 * time.Minute

// listening has a command listen for brokers while it runs, if it is to.
func (p *program) listening(flags *readerFlags, run func(*cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		if flags.listen == "" {
			if len(flags.hosts) > 0 {
				return cardbroker.Errorf(cardbroker.Invalid, "--host goes with --listen")
			}
			return run(c, args)
		}
		called, err := p.rendezvous(c.Context(), flags)
		if err != nil {
			return err
		}
		defer called.Close()
		flags.called = called
		if !c.Flags().Changed("timeout") {
			flags.timeout = listenTimeout
		}
		return run(c, args)
	}
}

// rendezvous listens for brokers.
func (p *program) rendezvous(ctx context.Context, f *readerFlags) (*rendezvous.Rendezvous, error) {
	switch {
	case len(f.brokers) > 0:
		return nil, cardbroker.Errorf(cardbroker.Invalid, "--broker and --listen do not go together: either brokers are called, or they call")
	case f.apiKeyFile != "":
		return nil, cardbroker.Errorf(cardbroker.Invalid, "--api-key-file and --listen do not go together: the brokers' configuration says which tenant this is")
	case f.certFile == "" || f.keyFile == "":
		return nil, cardbroker.Errorf(cardbroker.Invalid, "--listen needs --cert and --key: the certificate that brokers know this back end by")
	case f.caFile == "" && f.tokenFile == "":
		return nil, cardbroker.Errorf(cardbroker.Invalid, "--listen needs --ca, which vouches for the brokers' certificates, or --token-file with a token that they show")
	}
	log, err := p.logger()
	if err != nil {
		return nil, err
	}
	pair, err := tlsfile.Load(f.certFile, f.keyFile, log, nil)
	if err != nil {
		return nil, err
	}
	cfg := rendezvous.Config{Addr: f.listen, Certificate: pair.GetCertificate, Names: f.hosts, Log: log}
	if f.caFile != "" {
		if cfg.CA, err = readCA(f.caFile); err != nil {
			return nil, err
		}
	}
	if f.tokenFile != "" {
		cfg.Token = f.token
	}
	return rendezvous.Listen(ctx, cfg)
}
