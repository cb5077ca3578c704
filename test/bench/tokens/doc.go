// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package tokens has what the benchmarks of PKCS#11 need: signatures by a SoftHSM in this process, as a program makes them, and by the
// same token in cardsandbox, and through the REST API of a whole agent.
package tokens
