// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package prompt

// usable: no dialogs are built for this system; the agent's page and the command line answer.
func usable(string) bool { return false }
