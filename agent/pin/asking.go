// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pin

import (
	"context"

	"github.com/cardbroker/cardbroker"
)

// Asking counts a PIN that somebody else has the user enter, at a pin pad for one, like those of [Keeper.Enter]; an origin asks for it, or a
// program. ended is called when that is over. Errors: ReaderBusy, RateLimited.
func (k *Keeper) Asking(ctx context.Context, reader string, origin cardbroker.Origin) (ended func(entered bool), err error) {
	if err := k.begin(ctx, Wish{Reader: reader, Origin: origin}); err != nil {
		return nil, err
	}
	return func(entered bool) {
		if !entered {
			k.refused(origin)
		}
		k.finish(reader)
	}, nil
}
