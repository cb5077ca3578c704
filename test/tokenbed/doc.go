// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package tokenbed has tokens for tests and benchmarks: a SoftHSM with keys and certificates, a library that does things wrong, and cardsandbox with one PKCS#11 library, as
// an agent starts it. It works on Linux.
package tokenbed
