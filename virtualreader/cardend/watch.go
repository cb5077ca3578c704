// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend

import (
	"github.com/cardbroker/cardbroker"
)

// Watch subscribes to changes of the list: changed receives after each, several may be one signal. stop ends the subscription.
func (l *Leases) Watch() (changed <-chan struct{}, stop func()) {
	signal := make(chan struct{}, 1)
	l.loop.Must(func(t *leaseTable) error {
		t.watchers[signal] = true
		return nil
	})
	return signal, func() {
		l.loop.Must(func(t *leaseTable) error {
			delete(t.watchers, signal)
			return nil
		})
	}
}

// setShare notes how the back end wants the reader.
func (l *Leases) setShare(tunnel TunnelID, share cardbroker.ShareMode) {
	l.loop.Must(func(t *leaseTable) error {
		if h := t.find(tunnel); h != nil {
			h.Share = share
		}
		return nil
	})
}

// Busy is what another back end is told of the lease: not whose it is.
func (l Lease) Busy() error {
	return cardbroker.Errorf(cardbroker.ReaderBusy, "another back end holds the reader until %s", l.Expires.UTC().Format("15:04 UTC"))
}
