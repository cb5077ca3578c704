// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/remoteloading"
)

// remoteConfig joins remote loading to the rest of the agent.
func (a *Agent) remoteConfig() remoteloading.Config {
	return remoteloading.Config{
		Find: a.readers.Find,
		Free: a.sole,
		Turn: func(ctx context.Context, reader string) (remoteloading.Card, error) {
			card, err := a.cards.Turn(ctx, reader)
			if err != nil {
				return nil, err
			}
			return card, nil
		},
		Present:  a.cards.Present,
		Watch:    a.cards.Watch,
		Enter:    a.present.uses.Enter,
		Attended: a.present.attends,
		Asking: func(ctx context.Context, reader string, origin cardbroker.Origin) (func(bool), error) {
			if why := a.present.prompts.Closed(); why != nil { // also of what is entered at the reader
				return nil, why
			}
			return a.pins.Asking(ctx, reader, origin)
		},
		Asker:    a.asker,
		PagePINs: a.cfg.Policy.PagePINs,
		Record:   a.record,
	}
}
