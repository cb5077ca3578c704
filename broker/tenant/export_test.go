// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package tenant

import (
	"crypto/x509"
	"time"
)

// Age makes it so that the keys were fetched, and tried, longer ago.
func Age(k *URLKeys, by time.Duration) {
	s := *k.state.Load()
	s.got, s.tried = s.got.Add(-by), s.tried.Add(-by)
	k.state.Store(&s)
}

// Names are what a certificate is looked up by.
func Names(c *x509.Certificate) []string { return names(c) }
