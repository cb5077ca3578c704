// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package issuer

import (
	"io/fs"

	"github.com/cardbroker/cardbroker"
)

// private says that nobody has looked at who can read files here.
func private(fs.FileInfo) error {
	return cardbroker.Errorf(cardbroker.Unsupported, "access lists are not checked on this system")
}

// syncDir does nothing: names last with their files.
func syncDir(string) error { return nil }
