// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package apdu is the language of smart cards: command and response APDUs, status words, command chaining and long
// answers, the answer to reset, and BER-TLV data objects, as ISO/IEC 7816-3 and 7816-4 have them. It turns bytes into
// values and back. It opens nothing, keeps nothing, and knows no card and no reader; all input is taken for hostile, and
// no function panics on any.
//
// What cannot be read is a [*SyntaxError], which names the byte.
package apdu
