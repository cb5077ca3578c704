// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package tokens

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/cardbroker/cardbroker/internal/token"
	"github.com/cardbroker/cardbroker/test/bench/sample"
	"github.com/cardbroker/cardbroker/test/tokenbed"
)

// keyID is the P-256 key of an HSM of the bed: the quickest, so that all else is seen.
func keyID() []byte { return []byte{2} }

func digest() []byte { return make([]byte, token.SHA256.Size()) }

// Measured is what was found: signatures in the sandbox's process and in this one, each with its login; and starts of the process up to its
// first list of slots, in ms.
type Measured struct {
	Sandbox, Local *sample.Path
	Starts         []float64
}

// Measure measures in rounds with the program cardsandbox, and an HSM in the directory, which it makes and removes.
func Measure(ctx context.Context, program, dir string, rounds, starts int) (m Measured, err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	h, err := tokenbed.NewHSM(ctx, dir)
	if err != nil {
		return m, err
	}
	local, err := NewLocal(h)
	if err != nil {
		return m, err
	}
	defer local.Close()
	for range starts {
		took, err := start(program, h)
		if err != nil {
			return m, err
		}
		m.Starts = append(m.Starts, took)
	}
	child, err := tokenbed.Start(program, h.Library, h.Env()...)
	if err != nil {
		return m, err
	}
	defer child.Stop()
	slot, err := child.Slot(h.Label)
	if err != nil {
		return m, err
	}
	q := token.Question{Call: token.CallSign, Sign: &token.Sign{Key: keyID(), Scheme: token.ECDSA, Hash: token.SHA256,
		Inputs: []token.Input{{Digest: digest()}}}}
	m.Sandbox = &sample.Path{Trip: func() error {
		_, err := child.Ask(slot.Stream, q, h.PIN)
		return err
	}}
	m.Local = &sample.Path{Trip: local.Sign}
	return m, sample.InTurns(ctx, rounds, m.Sandbox, m.Local)
}

// start times a start.
func start(program string, h *tokenbed.HSM) (float64, error) {
	began := time.Now()
	child, err := tokenbed.Start(program, h.Library, h.Env()...)
	if err != nil {
		return 0, err
	}
	_, err = child.Slot(h.Label)
	took := sample.Millis(time.Since(began))
	return took, errors.Join(err, child.Stop())
}
