// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/cardbroker/cardbroker/test/bench/atrs"
	"github.com/cardbroker/cardbroker/test/bench/tokens"
	"github.com/cardbroker/cardbroker/test/tokenbed"
)

func tokenRows() []row {
	return []row{
		// Most of it is that both processes were asleep; some is looking at what the key allows.
		{"sandbox: sign over C_Sign in-process, login to logout", "µs", goal{ofExcess, 400}},
		{"sandbox: start of a PKCS#11 module, exec to slots", "ms", goal{ofP50, 30}},
	}
}

// tokens measures a SoftHSM behind the sandbox.
func (b *bench) tokens(ctx context.Context) ([]measured, error) {
	if err := tokenbed.Supported(); err != nil {
		why := measured{skip: err.Error()}
		return []measured{why, why}, nil
	}
	m, err := tokens.Measure(ctx, b.stage.Path("bin", "cardsandbox"), b.stage.Path("hsm"), pick(b, 10, 3), pick(b, 40, 10))
	if err != nil {
		return nil, err
	}
	return []measured{against(m.Sandbox, "the same in-process", m.Local), {ours: m.Starts}}, nil
}

// atrs measures looking up what a card is.
func (b *bench) atrs(ctx context.Context) ([]measured, error) {
	took, skip, err := atrs.LookUp()
	return []measured{{ours: took, skip: skip}}, err
}
