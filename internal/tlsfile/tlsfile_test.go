// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package tlsfile_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/tlsfile"
)

// issue writes a certificate with that serial number, which ends after life, and its key. It says when the files are from.
func issue(t *testing.T, dir string, serial int64, life time.Duration, at time.Time) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(life)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "cert"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), at)
	write(t, filepath.Join(dir, "key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), at)
}

func write(t *testing.T, path string, content []byte, at time.Time) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

func serial(t *testing.T, p *tlsfile.Pair) int64 {
	t.Helper()
	got, err := p.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	return got.Leaf.SerialNumber.Int64()
}

func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, begun := t.TempDir(), time.Now()
		var said bytes.Buffer
		log := slog.New(slog.NewTextHandler(&said, nil))
		var told []int64
		issue(t, dir, 1, 90*24*time.Hour, begun)
		p, err := tlsfile.Load(filepath.Join(dir, "cert"), filepath.Join(dir, "key"), log, func(c tls.Certificate) {
			told = append(told, c.Leaf.SerialNumber.Int64())
		})
		if err != nil {
			t.Fatal(err)
		}
		issue(t, dir, 2, 90*24*time.Hour, begun.Add(time.Minute))
		if got := serial(t, p); got != 1 {
			t.Errorf("serial = %d: the files were looked at within a second", got)
		}
		time.Sleep(2 * time.Second)
		if got := serial(t, p); got != 2 || len(told) != 1 || told[0] != 2 {
			t.Errorf("serial = %d, told %v, want 2", got, told)
		}
		write(t, filepath.Join(dir, "key"), []byte("half of a k"), begun.Add(2*time.Minute))
		for range 3 {
			time.Sleep(2 * time.Second)
			if got := serial(t, p); got != 2 {
				t.Errorf("serial = %d, want the old one while the new one is broken", got)
			}
		}
		if n := strings.Count(said.String(), "the old one stays"); n != 1 {
			t.Errorf("it was said %d times that the new one is broken, want once", n)
		}
		os.Remove(filepath.Join(dir, "cert"))
		time.Sleep(2 * time.Second)
		if got := serial(t, p); got != 2 {
			t.Errorf("serial = %d without files, want 2", got)
		}
		if strings.Contains(said.String(), "ends soon") {
			t.Errorf("warned of a certificate that has 90 days: %s", said.String())
		}
		issue(t, dir, 3, 29*24*time.Hour, begun.Add(3*time.Minute))
		time.Sleep(2 * time.Second)
		if got := serial(t, p); got != 3 || !strings.Contains(said.String(), "ends soon") {
			t.Errorf("serial = %d, said %q, want 3 and a warning", got, said.String())
		}
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() { p.GetCertificate(nil); p.Expires() })
		}
		all.Wait()
	})
}

func TestLoadErrors(t *testing.T) {
	dir := t.TempDir()
	log := slog.New(slog.DiscardHandler)
	if _, err := tlsfile.Load(filepath.Join(dir, "cert"), filepath.Join(dir, "key"), log, nil); cardbroker.ReasonOf(err) != cardbroker.Invalid {
		t.Errorf("no files: %v, want invalid", err)
	}
	issue(t, dir, 1, time.Hour, time.Now())
	write(t, filepath.Join(dir, "key"), nil, time.Now())
	if _, err := tlsfile.Load(filepath.Join(dir, "cert"), filepath.Join(dir, "key"), log, nil); cardbroker.ReasonOf(err) != cardbroker.Invalid {
		t.Errorf("an empty key: %v, want invalid", err)
	}
}
