// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend

import (
	"context"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// connect connects anew, whatever was before. The back end has heard of all cards before this one when it gets the answer.
func (e *exchange) connect(ctx context.Context, share cardbroker.ShareMode) error {
	e.leave(cardbroker.LeaveCard)
	if e.lost = nil; share != e.share {
		e.share = share
		e.holder.leases.setShare(e.tunnel.ID, share)
	}
	if err := e.need(ctx); err != nil {
		return err
	}
	e.catchUp()
	card := e.card.Info()
	e.kind = wire.TypeConnected
	e.payload = wire.CardIn{Protocol: card.Protocol, ATR: card.ATR}.Append(e.payload)
	return nil
}

// catchUp waits until the attendant has told the back end which card is in the reader. Told after the answer, the back end would take
// the card that it is connected to for the one that was taken out before.
func (e *exchange) catchUp() {
	told := make(chan struct{})
	select {
	case e.behind <- told:
	case <-e.lease.Done(): // and with it the attendant
		return
	}
	select {
	case <-told:
	case <-e.lease.Done():
	}
}
