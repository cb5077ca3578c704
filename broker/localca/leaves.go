// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package localca

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/cardbroker/cardbroker"
)

// Leaves are the certificates of a host. They do not change.
type Leaves struct {
	CA    *x509.Certificate
	certs []tls.Certificate // in the order in which they are used
}

// Exist says whether certificates were made in dir. Errors: Invalid.
func Exist(dir string) (bool, error) {
	_, err := os.Stat(filepath.Join(dir, caFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, cardbroker.Wrapf(err, cardbroker.Invalid, "cannot look for certificates in %s", dir)
	}
	return true, nil
}

// CA returns the certificate of the authority, PEM, which browsers are to trust. Errors: Invalid.
func CA(dir string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(dir, caFile))
	if err != nil {
		return nil, cardbroker.Wrapf(err, cardbroker.Invalid, "there are no certificates in %s; make them with `cardbroker host tls init`", dir)
	}
	return text, nil
}

// Load reads what Make has written. Others must not be able to read the keys. Errors: Invalid.
func Load(dir string) (*Leaves, error) {
	text, err := CA(dir)
	if err != nil {
		return nil, err
	}
	l := &Leaves{}
	der, _ := pem.Decode(text)
	if der == nil {
		return nil, damaged(caFile, errors.New("no PEM"))
	}
	if l.CA, err = x509.ParseCertificate(der.Bytes); err != nil {
		return nil, damaged(caFile, err)
	}
	for i := range leaves {
		cert, err := loadLeaf(filepath.Join(dir, leafName(i)))
		if err != nil {
			return nil, damaged(leafName(i), err)
		}
		l.certs = append(l.certs, cert)
	}
	return l, nil
}

func loadLeaf(path string) (tls.Certificate, error) {
	info, err := os.Stat(path)
	if err != nil {
		return tls.Certificate{}, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return tls.Certificate{}, fmt.Errorf("mode %04o: others could read the key; chmod 0600", mode)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(text, text)
}

func damaged(name string, err error) error {
	return cardbroker.Wrapf(err, cardbroker.Invalid, "the certificate file %s is damaged: %v", name, err)
}

// At returns the certificate that is in use at a moment: of those that are valid the newest, so that one that ends soon is
// not shown. If none is valid, it is the nearest.
func (l *Leaves) At(now time.Time) *tls.Certificate {
	for i := len(l.certs) - 1; i > 0; i-- {
		if !now.Before(l.certs[i].Leaf.NotBefore) {
			return &l.certs[i]
		}
	}
	return &l.certs[0]
}

// GetCertificate is for a tls.Config.
func (l *Leaves) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return l.At(time.Now()), nil
}

// End returns when the last certificate ends: before that, new ones are made and browsers told.
func (l *Leaves) End() time.Time { return l.certs[len(l.certs)-1].Leaf.NotAfter }
