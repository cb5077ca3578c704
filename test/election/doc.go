// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Command election has agents elect their registry on a host without a service, kills, stops and deceives them, and checks
// from outside that nothing is lost: real processes of many users, in a network of their own. It works on Linux, as root.
//
//	go run ./test/election                      all stories, short
//	go run ./test/election --rounds 100 failover
package main
