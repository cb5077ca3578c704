// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pkcs11

// Config says what is loaded.
type Config struct {
	Library string       // absolute path
	Hush    func() error // called before the first PIN is used: from then on nobody is to hear what the library prints, which may name it
}
