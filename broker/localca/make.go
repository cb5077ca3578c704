// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package localca makes and keeps the certificates that a host shows web pages for localhost, where its administrator has
// none. They are issued all at once, for ten years, by a certificate authority that exists for that moment only: its key is
// never written anywhere, so that nobody can have it issue another. What it can vouch for is limited in its own certificate,
// which browsers are told to trust: localhost and loopback addresses, nothing else.
package localca

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/cardbroker/cardbroker"
)

const (
	leaves   = 10                   // certificates, used one after the other
	leafLife = 365 * 24 * time.Hour // from one to the next
	overlap  = 30 * 24 * time.Hour  // that each lasts longer, for clocks that are wrong
	early    = 24 * time.Hour       // that the first is valid before it was made, for the same reason

	caFile   = "ca.pem"
	dirMode  = 0o700
	fileMode = 0o600
)

// Make issues the certificates of a host and writes them to a directory of its own, which it makes. Those that were there go:
// browsers must be told of the new authority. Errors: Unavailable.
func Make(dir, host string, now time.Time) error {
	files, err := issue(host, now)
	if err != nil {
		return cardbroker.Wrapf(err, cardbroker.Unavailable, "cannot issue certificates")
	}
	if err := replace(dir, files); err != nil {
		return cardbroker.Wrapf(err, cardbroker.Unavailable, "cannot write the certificates to %s", dir)
	}
	return nil
}

// replace writes the files to a new directory and puts it in the place of dir: there are always those of one authority.
func replace(dir string, files map[string][]byte) error {
	if err := os.MkdirAll(filepath.Dir(dir), dirMode); err != nil {
		return err
	}
	made, err := os.MkdirTemp(filepath.Dir(dir), ".tls-*") // 0700
	if err != nil {
		return err
	}
	defer os.RemoveAll(made)
	for name, content := range files {
		if err := write(filepath.Join(made, name), content); err != nil {
			return err
		}
	}
	old := made + ".old"
	if err := os.Rename(dir, old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	defer os.RemoveAll(old)
	return os.Rename(made, dir)
}

func write(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}

// issue makes an authority, has it issue all it ever will, and forgets its key.
func issue(host string, now time.Time) (map[string][]byte, error) {
	start := now.Add(-early).UTC().Truncate(time.Second)
	end := start.Add(leaves*leafLife + overlap)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	ca := authority(host, start, end)
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{caFile: block("CERTIFICATE", der)}
	for i := range leaves {
		from := start.Add(time.Duration(i) * leafLife)
		if files[leafName(i)], err = issueLeaf(ca, key, from); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// authority is the certificate of an authority that can vouch for this host's loopback names only, RFC 5280 §4.2.1.10.
func authority(host string, start, end time.Time) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "cardbroker localhost authority of " + host, Organization: []string{"cardbroker"}},
		NotBefore:             start,
		NotAfter:              end,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},

		PermittedDNSDomainsCritical: true,
		PermittedDNSDomains:         []string{"localhost"},
		PermittedIPRanges: []*net.IPNet{
			{IP: net.IPv4(127, 0, 0, 0).To4(), Mask: net.CIDRMask(8, 32)},
			{IP: net.IPv6loopback, Mask: net.CIDRMask(128, 128)},
		},
	}
}

// issueLeaf returns a certificate and its key, PEM.
func issueLeaf(ca *x509.Certificate, caKey *ecdsa.PrivateKey, from time.Time) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "localhost"},
		NotBefore:             from,
		NotAfter:              from.Add(leafLife + overlap),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:              []string{"localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, key.Public(), caKey)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return bytes.Join([][]byte{block("CERTIFICATE", der), block("PRIVATE KEY", private)}, nil), nil
}

func serial() *big.Int {
	n, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)) // fails where randomness does, which ends the process
	return n.Add(n, big.NewInt(1))
}

func block(kind string, content []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content})
}

func leafName(i int) string { return fmt.Sprintf("leaf-%02d.pem", i) }
