// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package remoteloading

import "slices"

// Has says whether a session has the reader of that name.
func (l *Loader) Has(reader string) bool {
	return slices.ContainsFunc(*l.view.Load(), func(h holder) bool { return h.reader == reader })
}
