// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package jose signs, verifies and decrypts in the formats of JOSE (RFC 7515 to 7519), with the algorithms that this
// program allows and no others. It is the only importer of the library that does it. It keeps no keys, asks no network, and
// no error of it repeats a token, a key or a PIN.
package jose
