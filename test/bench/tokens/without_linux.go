// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !cgo

package tokens

import (
	"errors"

	"github.com/cardbroker/cardbroker/test/tokenbed"
)

// Local needs cgo.
type Local struct{}

// NewLocal needs cgo.
func NewLocal(*tokenbed.HSM) (*Local, error) {
	return nil, errors.New("built without cgo, and so without PKCS#11")
}

// Close does nothing.
func (*Local) Close() error { return nil }

// Sign does nothing.
func (*Local) Sign() error { return nil }
