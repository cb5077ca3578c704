// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package tokens has the REST API of tokens before real ones: agent/pki, agent/tokens, cardsandbox pkcs11, and SoftHSM, or OpenSC's module
// with the PIV card in a reader of pcscd. It is tests only, which run on Linux.
package tokens
