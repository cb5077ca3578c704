// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package softcard is a card reader made of software, with one card in it: a PIV card as NIST SP 800-73-4 describes it,
// as far as programs need it that log on and sign. It is for trials and tests: its keys lie in memory or in a file, and
// it computes with them without care for timing. It never opens a real reader and never listens.
//
// The card has the PIN 123456 and the PUK 12345678 until they are changed, three tries of each, and four keys with a
// self-signed certificate each, made when first asked for:
//
//	9A  authentication        RSA-2048  PIN once
//	9C  digital signature     P-256     PIN before every use
//	9D  key management        RSA-2048  PIN once
//	9E  card authentication   P-256     no PIN
//
// It understands SELECT, GET DATA, VERIFY, CHANGE REFERENCE DATA, RESET RETRY COUNTER, GENERAL AUTHENTICATE and
// GET RESPONSE, command chaining, and APDUs in the short and the extended form. Two commands of its own, in any state,
// serve measurements: 80 EE answers its own data, whatever Le is, and 80 EF answers after P1-P2 milliseconds.
package softcard
