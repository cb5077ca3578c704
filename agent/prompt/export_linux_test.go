// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package prompt

import "log/slog"

// DialogOf is the first dialog of the system, if its program were at path.
func DialogOf(path string, log *slog.Logger) *Consent {
	found, ok := at(0, path)
	if !ok {
		return nil
	}
	return &Consent{way: found.way(), log: log}
}

// PromptOf is the nth dialog of the system, if its program were at path.
func PromptOf(n int, path string, cfg Config) *Prompt {
	found, ok := at(n, path)
	if !ok {
		return nil
	}
	return &Prompt{cfg: cfg, steps: found.steps, turn: make(chan struct{}, 1)}
}

func at(n int, path string) (program, bool) {
	p := dialogs()[n]
	p.path = path
	return first([]program{p})
}
