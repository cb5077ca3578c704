// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Command demo shows the main job with the real programs: two users of one host, each with an agent and a software card,
// a broker that knows who is who, a web page that signs with tokens of PKCS#11 modules, and a back end that drives one user's card through a
// tunnel; then a host without a service, whose agents elect their registry. Every line of its report is a check; it exits with 0 only if all of them held. It leaves nothing behind.
package main
