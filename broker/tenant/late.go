// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package tenant

import (
	"context"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/run"
)

// refusalTime is how long after its request a ticket, or a tenant's credential, is refused. Whether it names an agent at all,
// and whether that agent knows it, or whether there is such a tenant, makes a difference of a millisecond, which is hidden so; it
// also slows down who guesses.
const refusalTime = 100 * time.Millisecond

// RefuseLate returns err; if it says that a ticket or a credential is not good, when refusalTime has passed since the request.
func RefuseLate(ctx context.Context, asked time.Time, err error) error {
	if rule := cardbroker.RuleOf(err); rule != cardbroker.RuleTicket && rule != cardbroker.RuleToken {
		return err
	}
	run.Pause(ctx, time.Until(asked.Add(refusalTime)))
	return err
}
