// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package localca_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/broker/localca"
	"github.com/cardbroker/cardbroker/internal/testenv"
)

var start = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func mustMake(t *testing.T) (dir string, leaves *localca.Leaves) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "state", "tls")
	if err := localca.Make(dir, "vda1", start); err != nil {
		t.Fatal(err)
	}
	leaves, err := localca.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir, leaves
}

// TestTenYears looks at each day of ten years: there is a certificate that is good, and for at least 30 days more.
func TestTenYears(t *testing.T) {
	_, leaves := mustMake(t)
	roots := x509.NewCertPool()
	roots.AddCert(leaves.CA)
	seen := map[string]bool{}
	for day := range 3648 {
		now := start.AddDate(0, 0, day)
		leaf := leaves.At(now).Leaf
		seen[leaf.SerialNumber.String()] = true
		for _, name := range []string{"localhost", "127.0.0.1", "::1"} {
			if _, err := leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, CurrentTime: now}); err != nil {
				t.Fatalf("day %d: %s: %v", day, name, err)
			}
		}
		if left := leaf.NotAfter.Sub(now); left < 30*24*time.Hour || left > 396*24*time.Hour {
			t.Fatalf("day %d: the certificate has %v left", day, left)
		}
	}
	if len(seen) != 10 || leaves.End().Before(start.AddDate(10, 0, 0)) {
		t.Errorf("%d certificates, the last ends %v, want 10 for ten years", len(seen), leaves.End())
	}
}

// TestNoKeyOfTheAuthority: of the keys that are written none is the authority's, and nobody else can read them.
func TestNoKeyOfTheAuthority(t *testing.T) {
	dir, leaves := mustMake(t)
	for _, wrong := range []struct {
		name string
		is   bool
	}{
		{"the authority is not critical about names", !leaves.CA.PermittedDNSDomainsCritical},
		{"the authority may have others below it", !leaves.CA.MaxPathLenZero},
	} {
		if wrong.is {
			t.Error(wrong.name)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 11 {
		t.Fatalf("%d files, %v, want 11", len(files), err)
	}
	for _, file := range files {
		info, _ := file.Info()
		if info.Mode() != 0o600 {
			t.Errorf("%s has mode %v", file.Name(), info.Mode())
		}
		text, _ := os.ReadFile(filepath.Join(dir, file.Name()))
		for der, rest := pem.Decode(text); der != nil; der, rest = pem.Decode(rest) {
			if der.Type != "PRIVATE KEY" {
				continue
			}
			key, err := x509.ParsePKCS8PrivateKey(der.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			if key.(*ecdsa.PrivateKey).PublicKey.Equal(leaves.CA.PublicKey) {
				t.Errorf("%s holds the key of the authority", file.Name())
			}
		}
	}
	if info, _ := os.Stat(dir); info.Mode().Perm() != 0o700 {
		t.Errorf("the directory has mode %v", info.Mode())
	}
}

// TestMakeAgain replaces all, and leaves nothing else behind.
func TestMakeAgain(t *testing.T) {
	dir, before := mustMake(t)
	if err := localca.Make(dir, "vda1", start); err != nil {
		t.Fatal(err)
	}
	after, err := localca.Load(dir)
	if err != nil || after.CA.Equal(before.CA) {
		t.Errorf("after a second Make the authority is the same, %v", err)
	}
	if left, _ := os.ReadDir(filepath.Dir(dir)); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

func TestDamaged(t *testing.T) {
	for name, damage := range map[string]func(dir string) error{
		"no certificates":   os.RemoveAll,
		"a leaf is missing": func(dir string) error { return os.Remove(dir + "/leaf-07.pem") },
		"a readable leaf":   func(dir string) error { return os.Chmod(dir+"/leaf-03.pem", 0o640) },
		"an empty leaf":     func(dir string) error { return os.WriteFile(dir+"/leaf-00.pem", nil, 0o600) },
		"no PEM":            func(dir string) error { return os.WriteFile(dir+"/ca.pem", []byte("x"), 0o600) },
	} {
		dir, _ := mustMake(t)
		if err := damage(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := localca.Load(dir); cardbroker.ReasonOf(err) != cardbroker.Invalid {
			t.Errorf("%s: Load = %v, want invalid", name, err)
		}
	}
}

// authority is one whose key its thief has.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// steal makes an authority with the limits of a certificate but a key that we know: what a thief of ours could do.
func steal(t *testing.T, limits *x509.Certificate) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := *limits
	template.PublicKey = nil
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert, key}
}

// issue issues a certificate for a name, and its key, PEM.
func (a authority) issue(t *testing.T, name string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: start.Add(-time.Hour), NotAfter: start.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// TestStolenAuthority gives a thief the authority's key, which nobody has: with ours he can still be nobody but this host; with
// a naive one he is every site that its user visits. Go and OpenSSL agree.
func TestStolenAuthority(t *testing.T) {
	openssl := testenv.Tool(t, "openssl")
	_, leaves := mustMake(t)
	naive := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: leaves.CA.Subject, NotBefore: leaves.CA.NotBefore, NotAfter: leaves.CA.NotAfter,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	dir := t.TempDir()
	for side, ca := range map[string]authority{"naive": steal(t, naive), "ours": steal(t, leaves.CA)} {
		caFile := filepath.Join(dir, side+".pem")
		os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw}), 0o600)
		roots := x509.NewCertPool()
		roots.AddCert(ca.cert)
		for name, allowed := range map[string]bool{
			"localhost": true, "127.0.0.1": true, "127.9.9.9": true, "::1": true,
			"app.example": false, "localhost.example": false, "192.0.2.1": false, "::2": false,
		} {
			text := ca.issue(t, name)
			der, _ := pem.Decode(text)
			cert, err := x509.ParseCertificate(der.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			want := allowed || side == "naive"
			if _, err := cert.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, CurrentTime: start}); (err == nil) != want {
				t.Errorf("%s authority for %s: Verify = %v, want accepted: %v", side, name, err, want)
			}
			leafFile := filepath.Join(dir, "leaf.pem")
			os.WriteFile(leafFile, text, 0o600)
			out, err := exec.Command(openssl, "verify", "-purpose", "sslserver", "-attime", "1795780800", "-CAfile", caFile, leafFile).CombinedOutput()
			if accepted := err == nil && bytes.Contains(out, []byte("OK")); accepted != want {
				t.Errorf("%s authority for %s: openssl says %s, want accepted: %v", side, name, strings.TrimSpace(string(out)), want)
			}
		}
	}
}
