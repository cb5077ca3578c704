// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"context"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
)

// Ask asks the user something inside the gate: the question is taken away when it closes, and what was answered at the last moment counts
// no more. The reason of the close is the error.
func Ask[Answer any](ctx context.Context, g *Gate, question func(context.Context) (Answer, error)) (answer Answer, err error) {
	inside, leave, err := g.Enter(ctx)
	if err != nil {
		return answer, err
	}
	defer leave()
	said, err := question(inside)
	if gone := g.Closed(); gone != nil && ctx.Err() == nil {
		return answer, gone
	}
	return said, err
}

// Asker is a prompt that is shown only while the gate is open.
type Asker struct {
	cardend.Asker
	Gate *Gate
}

// AskPIN implements [cardend.Asker].
func (a Asker) AskPIN(ctx context.Context, q cardend.Question) ([]cardbroker.Secret, error) {
	return Ask(ctx, a.Gate, func(ctx context.Context) ([]cardbroker.Secret, error) { return a.Asker.AskPIN(ctx, q) })
}
