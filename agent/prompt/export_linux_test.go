// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package prompt

import "log/slog"

// DialogOf is the first dialog of the system, if its program were at path.
func DialogOf(path string, log *slog.Logger) *Consent {
	first := dialogs()[0]
	first.path = path
	found, ok := dialog([]program{first})
	if !ok {
		return nil
	}
	return &Consent{way: found, log: log}
}
