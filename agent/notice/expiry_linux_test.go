// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package notice_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker/agent/notice"
	"github.com/cardbroker/cardbroker/internal/token"
	"github.com/cardbroker/cardbroker/test/noticebed"
)

// of returns a certificate that ends after so long.
func of(t *testing.T, name string, life time.Duration, authority bool) token.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-60 * 24 * time.Hour),
		NotAfter: now.Add(life), IsCA: authority, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return token.Certificate{DER: der}
}

// TestExpiring: of what was read, only the user's own certificates in their last 30 days are told of, and once.
func TestExpiring(t *testing.T) {
	const day = 24 * time.Hour
	d := noticebed.New(t, "actions", "body")
	read := make(chan []token.Certificate)
	n := notice.New(notice.Config{Bus: d.Address, Leases: func() []notice.Lease { return nil }, Read: read, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	soon := of(t, "<b>Alice</b>", 20*day+time.Hour, false)
	read <- []token.Certificate{of(t, "later", 31*day, false), of(t, "over", -day, false), of(t, "authority", day, true), {DER: []byte("none")}, soon}
	read <- []token.Certificate{soon}
	read <- []token.Certificate{of(t, "Bob", 2*time.Hour, false)}
	first := d.Next()
	if first.Summary != "A certificate on your card expires soon" || !strings.Contains(first.Body, "of bAlice/b, issued by bAlice/b, is valid until ") ||
		!strings.Contains(first.Body, "for 20 days more") || len(first.Actions) != 0 {
		t.Errorf("the notice is %+v", first)
	}
	if second := d.Next(); !strings.Contains(second.Body, "of Bob,") || !strings.Contains(second.Body, "less than a day") {
		t.Errorf("the second notice is %+v", second)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run() = %v", err)
	}
	if n := len(d.Notices); n != 0 {
		t.Errorf("the desktop was asked %d times more", n)
	}
}
