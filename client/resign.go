// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"time"

	"github.com/cardbroker/cardbroker"
)

// resignTimeout bounds the question: whoever has the port may be anybody.
const resignTimeout = time.Second

// AskToResign asks an elected leader to leave the well-known port to a service, which it does soon after if we may run one.
// Errors: CallerRefused: we may not; Unavailable: nobody listens there, or whoever does gives no HTTP answer; Timeout: who does says nothing; Unsupported: whoever listens there is no elected leader.
func AskToResign(ctx context.Context, port cardbroker.Port) error {
	ctx, cancel := context.WithTimeout(ctx, resignTimeout)
	defer cancel()
	_, err := askStranger[struct{}](ctx, "POST", port, "/local/v1/resign", nil)
	_, isCut := errors.AsType[cut](err)
	switch reason := cardbroker.ReasonOf(err); {
	case isCut, reason == "", reason == cardbroker.CallerRefused, reason == cardbroker.Timeout, reason == cardbroker.Canceled:
		return err
	}
	return cardbroker.Wrapf(err, cardbroker.Unsupported, "whoever listens on port %d is no elected leader", port)
}
