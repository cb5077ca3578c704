// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package browser

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/test/chromium"
	"github.com/cardbroker/cardbroker/test/stage"
)

// trust has a user's browsers trust an authority, as `host tls ca` says.
func trust(t *testing.T, p *stage.Person, name string, ca []byte) {
	t.Helper()
	certutil := testenv.Tool(t, "certutil")
	file, db := filepath.Join(p.Home, name+".pem"), filepath.Join(p.Home, ".pki", "nssdb")
	if err := os.WriteFile(file, ca, 0o644); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir, cmd.Env = p.Home, []string{"PATH=/usr/bin:/bin", "HOME=" + p.Home}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.Cred}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
	if _, err := os.Stat(db); err != nil {
		run("mkdir", "-p", db)
		run(certutil, "-d", "sql:"+db, "-N", "--empty-password")
	}
	run(certutil, "-d", "sql:"+db, "-A", "-t", "C,,", "-n", name, "-i", file)
}

// thief is who has the key of an authority with the limits of another: it makes him a site of any name.
func thief(t *testing.T, limits x509.Certificate, name string) (ca []byte, site *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	limits.PublicKey = nil
	der, err := x509.CreateCertificate(rand.Reader, &limits, &limits, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parent, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: parent.NotBefore, NotAfter: parent.NotBefore.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, DNSNames: []string{name}}
	cert, err := x509.CreateCertificate(rand.Reader, leaf, parent, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		&tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert}, PrivateKey: key}}}
}

// TestOwnAuthority has a real browser use broker and agent over TLS once it trusts the host's authority. With the authority's key,
// which nobody has, a thief would still be no other site for it; with that of a naive authority he would.
func TestOwnAuthority(t *testing.T) {
	testenv.Root(t)
	testenv.Tool(t, "certutil")
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	s, err := stage.New(ctx, map[string]string{
		"cardbroker":  filepath.Join(os.Getenv(programs), "cardbroker"),
		"cardsandbox": filepath.Join(os.Getenv(programs), "cardsandbox"),
	})
	if s != nil {
		t.Cleanup(func() {
			for _, problem := range s.Strike() {
				t.Errorf("left behind: %s", problem)
			}
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.Path("host.yaml"), []byte("tls: {local_ca: true}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	socket := s.Path("run", "broker.sock")
	_, broker, err := s.Start(nil, "broker", "host", "run", "--config", s.Path("host.yaml"), "--state", s.Path("state"), "--socket", socket, "--listen", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	alice := &s.Users[0]
	_, agent, err := s.Start(alice, "agent", "agent", "run", "--socket", socket, "--state", alice.Home+"/state", "--software-card")
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.Run(nil, "cardbroker", "host", "tls", "ca", "--state", s.Path("state"))
	if err != nil || out.Status != 0 {
		t.Fatalf("host tls ca: %v, %s", err, out.Stderr)
	}
	block, _ := pem.Decode(out.Stdout)
	ours, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	naive := x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "naive"}, NotBefore: ours.NotBefore, NotAfter: ours.NotAfter,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	stolen := *ours
	stolen.Subject.CommonName, stolen.RawSubject = "stolen", nil
	stolen.ExtraExtensions = nil
	naiveCA, naiveSite := thief(t, naive, "naive.example")
	stolenCA, stolenSite := thief(t, stolen, "app.example")
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "a false site") })
	naiveAt, stolenAt := serve(t, "127.0.0.1:0", page, naiveSite), serve(t, "127.0.0.1:0", page, stolenSite)

	trust(t, alice, "ours", out.Stdout)
	trust(t, alice, "naive", naiveCA)
	trust(t, alice, "stolen", stolenCA)
	b, err := chromium.Start(ctx, chromium.Config{Program: testenv.Tool(t, "chromium"), User: *alice, Hosts: "MAP naive.example 127.0.0.1,MAP app.example 127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	named := func(address, name string) string {
		_, port, _ := net.SplitHostPort(address)
		return "https://" + name + ":" + port
	}
	for _, test := range []struct{ url, want string }{ // want: an error; empty: none
		{named(broker.Listen[0], "localhost") + "/info", ""},
		{named(agent.Listen[0], "localhost") + "/info", ""},
		{named(agent.Listen[0], "127.0.0.1") + "/info", ""},
		{named(agent.Listen[0], "[::1]") + "/info", ""},
		{named(naiveAt, "naive.example"), ""},
		{named(stolenAt, "app.example"), "ERR_CERT_INVALID"},
	} {
		start := time.Now()
		_, err := b.Open(test.url)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v after %v, want %q", test.url, err, time.Since(start), test.want)
		}
	}
}
