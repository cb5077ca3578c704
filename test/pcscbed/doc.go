// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package pcscbed is a PC/SC service for tests, the demo and the benchmarks: pcscd and virtual readers, alone in a network
// and mount namespace, with cards that are put in and taken out at will. Programs outside reach it by its socket. It works
// on Linux, as root.
package pcscbed
