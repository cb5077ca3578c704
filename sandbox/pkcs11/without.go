// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !cgo

package pkcs11

import (
	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/sandbox"
)

// Open is Unavailable.
func Open(string) (sandbox.Tokens, error) {
	return nil, cardbroker.Errorf(cardbroker.Unavailable, "this program was built without cgo, so that it cannot load a PKCS#11 library")
}
