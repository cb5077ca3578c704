// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend

import (
	"errors"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/firewall"
)

// tell has the tunnel's owner hear of a refusal by the firewall, unless there were too many to tell of each, and returns it.
func (e *exchange) tell(err error) error {
	refusal, ok := errors.AsType[*firewall.Refused](err)
	if !ok || e.tunnel.Refused == nil {
		return err
	}
	if count := e.refused.Refused(refusal.Place, time.Now()); count > 0 {
		e.tunnel.Refused(e.tunnel.ID, count, err)
	}
	return err
}

// tellRest tells of the refusals that were too many.
func (e *exchange) tellRest() {
	if count := e.refused.Rest(); count > 0 && e.tunnel.Refused != nil {
		e.tunnel.Refused(e.tunnel.ID, count, cardbroker.Refusef(cardbroker.Forbidden, cardbroker.RuleFirewall, "more commands were not allowed"))
	}
}

// left tells the firewall what became of the card: others may use one that was left, or left in the midst of something.
func (e *exchange) left(d cardbroker.Disposition, err error) {
	if err == nil && (d == cardbroker.ResetCard || d == cardbroker.UnpowerCard) {
		e.firewall.Reset()
		return
	}
	e.firewall.Forget()
}
