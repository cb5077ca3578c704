// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/cardbroker/cardbroker/test/bench/atrs"
	"github.com/cardbroker/cardbroker/test/bench/kept"
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
		return skipAll(len(tokenRows()), err), nil
	}
	m, err := tokens.Measure(ctx, b.stage.Path("bin", "cardsandbox"), b.stage.Path("hsm"), pick(b, 10, 3), pick(b, 40, 10))
	if err != nil {
		return nil, err
	}
	return []measured{against(m.Sandbox, "the same in-process", m.Local), {ours: m.Starts}}, nil
}

// signs measures a signature through the agent's REST API, beside one in-process.
func (b *bench) signs(ctx context.Context) ([]measured, error) {
	if err := tokenbed.Supported(); err != nil {
		return skipAll(1, err), nil
	}
	site, err := tokens.NewSite(ctx, b.stage.Path("signs-hsm"))
	if err != nil {
		return nil, err
	}
	host, err := b.startHost("signs")
	if err != nil {
		return nil, err
	}
	defer host.stop()
	agent, err := host.startAgentOf("--software-card", "--policy="+site.Policy)
	if err != nil {
		return nil, err
	}
	ours, local, err := site.Signs(ctx, agent.port, pick(b, 5, 2))
	if err != nil {
		return nil, err
	}
	return []measured{against(ours, "the same in-process", local)}, nil
}

func certificateRows() (rows []row) {
	for _, r := range kept.Rows() {
		rows = append(rows, row{r.Name, r.Unit, goal{ofP50, r.Most}})
	}
	return rows
}

// certificates measures the agent's cache.
func (b *bench) certificates(ctx context.Context) (found []measured, err error) {
	if why := kept.Supported(); why != nil {
		return skipAll(len(kept.Rows()), why), nil
	}
	ours, err := kept.Measure(ctx, b.stage.Path("bin"), b.stage.Path("kept"), pick(b, 10, 3), pick(b, 3, 1))
	for _, samples := range ours {
		found = append(found, measured{ours: samples})
	}
	return found, err
}

// atrs measures looking up what a card is.
func (b *bench) atrs(ctx context.Context) ([]measured, error) {
	took, skip, err := atrs.LookUp()
	return []measured{{ours: took, skip: skip}}, err
}
