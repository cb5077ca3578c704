// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package prompt

// program is a dialog program of the system.
type program struct{}

// dialogs: none is built for this system; the agent's page and the command line answer.
func dialogs() []program { return nil }

func dialog([]program) (way, bool) { return way{}, false }
