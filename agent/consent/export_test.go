// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package consent

import "context"

// WatchNothing has the book believe that nobody else writes its file: in a bubble of synctest, time stands still while
// somebody waits for the kernel.
func (b *Book) WatchNothing() {
	b.watcher = func(ctx context.Context, _ string, changed func()) error {
		changed()
		<-ctx.Done()
		return ctx.Err()
	}
}

// WatchByTime has the book look for changes as on systems that do not tell of them.
func (b *Book) WatchByTime() {
	b.watcher = func(context.Context, string, func()) error { return errDamaged }
}
