// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/broker/localca"
)

// trust says how browsers are told of an authority.
const trust = `Have browsers trust this certificate (in FILE):
  Chromium on Linux, each user:  mkdir -p $HOME/.pki/nssdb; certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n cardbroker -i FILE
  Debian:   cp FILE /usr/local/share/ca-certificates/cardbroker.crt && update-ca-certificates
  Windows:  certutil.exe -addstore Root FILE   (or by group policy: Trusted Root Certification Authorities)
  Firefox:  policies.json: {"policies":{"Certificates":{"Install":["FILE"]}}}
It can vouch for localhost and loopback addresses only, and its key does not exist any more.
`

// hostTLS looks after the certificates of the host's own authority.
func (p *program) hostTLS() *cobra.Command {
	var state string
	dir := func() string { return filepath.Join(state, tlsDir) }
	c := p.group("tls", "Make and show the certificates for web pages on localhost", p.tlsInit(dir), p.tlsCA(dir), p.tlsStatus(dir))
	c.PersistentFlags().StringVar(&state, "state", defaultHostState(""), "the broker's state directory")
	return c
}

func (p *program) tlsInit(dir func() string) *cobra.Command {
	var force bool
	c := &cobra.Command{Use: "init", Short: "Make certificates for ten years, by an authority whose key is destroyed", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			exist, err := localca.Exist(dir())
			if err != nil {
				return err
			}
			if exist && !force {
				return cardbroker.Errorf(cardbroker.Conflict, "there are certificates in %s; with --force they go, and browsers must be told of the new authority", dir())
			}
			if err := localca.Make(dir(), hostName(""), time.Now()); err != nil {
				return err
			}
			return p.showAuthority(dir())
		}}
	c.Flags().BoolVar(&force, "force", false, "replace the certificates that are there")
	return c
}

func (p *program) tlsCA(dir func() string) *cobra.Command {
	return &cobra.Command{Use: "ca", Short: "Print the certificate that browsers are to trust", Args: cobra.NoArgs,
		Long: "Print the certificate that browsers are to trust, PEM, to standard output, and how they are told to standard error.",
		RunE: func(*cobra.Command, []string) error { return p.showAuthority(dir()) }}
}

// showAuthority prints the authority's certificate, and beside it what is to be done with it.
func (p *program) showAuthority(dir string) error {
	text, err := localca.CA(dir)
	if err != nil {
		return err
	}
	if !p.json {
		io.WriteString(p.stderr, trust)
	}
	return p.write(map[string]string{"ca": string(text)}, func(w io.Writer) { w.Write(text) })
}

// tlsState is what `cardbroker host tls status` says.
type tlsState struct {
	Authority   string    `json:"authority"`   // its name
	Fingerprint string    `json:"fingerprint"` // SHA-256 of the authority's certificate, hexadecimal
	Current     time.Time `json:"current"`     // end of the certificate that is in use
	End         time.Time `json:"end"`         // of the last one
	Status      string    `json:"status"`      // ok, warn or fail
}

func (p *program) tlsStatus(dir func() string) *cobra.Command {
	return &cobra.Command{Use: "status", Short: "Say how long the certificates last", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			leaves, err := localca.Load(dir())
			if err != nil {
				return err
			}
			print := sha256.Sum256(leaves.CA.Raw)
			check := expiry(leaves.End(), caWarning, renewAuthority)
			state := tlsState{
				Authority:   leaves.CA.Subject.CommonName,
				Fingerprint: strings.ToUpper(hex.EncodeToString(print[:])),
				Current:     leaves.At(time.Now()).Leaf.NotAfter,
				End:         leaves.End(),
				Status:      check.Status,
			}
			return p.write(state, func(w io.Writer) {
				fmt.Fprintf(w, "%s\nSHA-256 %s\nthe certificate in use ends %s, the last one %s\n", state.Authority, state.Fingerprint,
					state.Current.Format(time.DateOnly), state.End.Format(time.DateOnly))
				if check.Fix != "" {
					fmt.Fprintln(w, check.Fix)
				}
			})
		}}
}
