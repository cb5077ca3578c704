// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend

import (
	"errors"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/firewall"
)

// tell has the tunnel's owner hear of err if it is a refusal by the firewall, unless there were too many to tell of each.
func (e *exchange) tell(err error) {
	if e.tunnel.Refused == nil || cardbroker.RuleOf(err) != cardbroker.RuleFirewall {
		return
	}
	place := firewall.Fixed
	if refusal, ok := errors.AsType[*firewall.Refused](err); ok {
		place = refusal.Place
	}
	if count := e.refused.Refused(place, time.Now()); count > 0 {
		e.tunnel.Refused(e.tunnel.ID, count, err)
	}
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
