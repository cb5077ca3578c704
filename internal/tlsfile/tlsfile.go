// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package tlsfile keeps a certificate and its key as two files have them, and takes a new pair over when the files change:
// certificates are renewed while a service runs. It serves them to package crypto/tls and owns nothing else.
package tlsfile

import (
	"crypto/tls"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
)

const (
	lookAgain = time.Second // between two looks at the files
	// WarnBefore is how long before its end a certificate is warned of.
	WarnBefore = 30 * 24 * time.Hour
)

// Pair is a certificate chain and its key, PEM. Make it with [Load]. Its methods may be called by any goroutine.
type Pair struct {
	cert, key string // paths
	log       *slog.Logger
	changed   func(tls.Certificate)
	loaded    atomic.Pointer[loaded]
	look      atomic.Int64 // when the files are looked at again, Unix nanoseconds
}

// loaded is what the files held. Files that were looked at and are broken are noted too, so that they are told of once.
type loaded struct {
	pair  tls.Certificate
	stamp stamp // of the files that were last read, good or not
}

// stamp tells whether files are others than before.
type stamp struct {
	certTime, keyTime time.Time
	certSize, keySize int64
}

// Load reads both files. changed, if not nil, is told of every pair that is taken over later; it must not block. Errors: Invalid.
func Load(cert, key string, log *slog.Logger, changed func(tls.Certificate)) (*Pair, error) {
	p := &Pair{cert: cert, key: key, log: log, changed: changed}
	now, err := p.stat()
	if err != nil {
		return nil, cardbroker.Wrapf(err, cardbroker.Invalid, "cannot read the certificate %s and its key %s", cert, key)
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, cardbroker.Wrapf(err, cardbroker.Invalid, "cannot use the certificate %s and its key %s", cert, key)
	}
	p.take(loaded{pair: pair, stamp: now})
	return p, nil
}

// GetCertificate is for tls.Config. At most once a second it looks whether the files are others than before, and takes them
// over if they fit together; else it goes on with what it has, and says so once.
func (p *Pair) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	p.refresh()
	return &p.loaded.Load().pair, nil
}

// Expires is when the certificate ends.
func (p *Pair) Expires() time.Time { return p.loaded.Load().pair.Leaf.NotAfter }

// refresh looks at the files, if it is time to: one of the callers does, the others go on.
func (p *Pair) refresh() {
	now, due := time.Now(), p.look.Load()
	if now.UnixNano() < due || !p.look.CompareAndSwap(due, now.Add(lookAgain).UnixNano()) {
		return
	}
	before := p.loaded.Load()
	found, err := p.stat()
	if err == nil && found == before.stamp {
		return
	}
	var pair tls.Certificate
	if err == nil {
		pair, err = tls.LoadX509KeyPair(p.cert, p.key)
	}
	if err != nil {
		if found != before.stamp { // once for each change
			p.log.Error("cannot use the new certificate; the old one stays", "err", err)
			p.loaded.Store(&loaded{pair: before.pair, stamp: found})
		}
		return
	}
	p.take(loaded{pair: pair, stamp: found})
	if p.changed != nil {
		p.changed(pair)
	}
}

func (p *Pair) take(l loaded) {
	p.loaded.Store(&l)
	p.look.Store(time.Now().Add(lookAgain).UnixNano())
	if left := time.Until(l.pair.Leaf.NotAfter); left < WarnBefore {
		p.log.Warn("the certificate ends soon", "term", l.pair.Leaf.NotAfter.UTC().Format(time.DateOnly))
	}
}

func (p *Pair) stat() (stamp, error) {
	cert, err := os.Stat(p.cert)
	if err != nil {
		return stamp{}, err
	}
	key, err := os.Stat(p.key)
	if err != nil {
		return stamp{}, err
	}
	return stamp{certTime: cert.ModTime(), keyTime: key.ModTime(), certSize: cert.Size(), keySize: key.Size()}, nil
}
