// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

// readerEvents pushes to a back end the readers that are offered to it, then every change.
func (d door) readerEvents(w http.ResponseWriter, r *http.Request) error {
	who, err := d.tenants.Authenticate(r)
	if err != nil {
		return err
	}
	changed, stop, err := d.board.Watch(r.Context())
	if err != nil {
		return err
	}
	push, err := socket.UpgradePush(w, r)
	if push == nil {
		stop()
		return err
	}
	d.core.Go("events", func(ctx context.Context) error {
		defer stop()
		if !who.Expires.IsZero() {
			var cancel context.CancelFunc
			ctx, cancel = context.WithDeadline(ctx, who.Expires)
			defer cancel()
		}
		var seen []api.ReaderState
		push.Run(ctx, changed, func() []api.ReaderEvent {
			now := api.States(d.offeredTo(who.Tenant))
			events := api.Changes(seen, now, time.Now().UTC())
			seen = now
			return events
		})
		return nil
	})
	return nil
}

func sortReaders(readers []api.RemoteReader) {
	slices.SortFunc(readers, func(a, b api.RemoteReader) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Session, b.Session), cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
}
