// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package virtualreader

import (
	"bytes"
	"testing"

	"github.com/cardbroker/cardbroker/virtualreader/script"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// longScript has n steps of which each is another command, of 1,000 bytes.
func longScript(n int) (s script.Script) {
	for i := range n {
		data := bytes.Repeat([]byte{byte(i), byte(i >> 8)}, 500)
		s.Steps = append(s.Steps, script.Step{Command: append([]byte{0, 0xDA, 0, 0, 0, byte(len(data) >> 8), byte(len(data))}, data...)})
	}
	return s
}

// TestScriptCutAtEveryFrame cuts the tunnel of a script that has several parts, each of several frames there and back, once in each
// run: at the first frame that crosses the relay, at the second, and so on. Each command reaches the card once, and is answered.
func TestScriptCutAtEveryFrame(t *testing.T) {
	const steps = 300
	s := longScript(steps)
	variants := [3][2]bool{{true, true}, {true, false}, {false, true}}
	cuts := 0
	for again := true; again; cuts++ {
		crossings := 0
		cut := func(c crossing) (backend, agent bool) {
			if c.kind == wire.TypeHello || c.kind == wire.TypeWelcome && !c.passed || c.kind == wire.TypePing || c.kind == wire.TypePong {
				return false, false // until Welcome is there nothing can be taken up again
			}
			if crossings++; crossings-1 != cuts {
				return false, false
			}
			v := variants[cuts%3]
			return v[0], v[1]
		}
		onBed(t, cut, func(t *testing.T, b *bed) {
			tunnel, err := b.tunnel(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer tunnel.Close()
			r, err := tunnel.Run(t.Context(), s, nil)
			if err != nil || r.Outcome != script.OK || len(r.Steps) != steps || b.reader.Executed() != steps {
				t.Fatalf("cut at frame %d: Run = %v, %v, %v with %d steps; the card executed %d commands", cuts, r.Outcome, r.Why, err, len(r.Steps), b.reader.Executed())
			}
			for i, step := range r.Steps {
				if step.Step != i || !bytes.Equal(step.Data, s.Steps[i].Command) {
					t.Fatalf("cut at frame %d: step %d was answered as step %d with % .20x", cuts, i, step.Step, step.Data)
				}
			}
		})
		again = crossings > cuts && !t.Failed()
	}
	if cuts < 16 {
		t.Errorf("the script has %d frames, want 16 or more", cuts)
	}
	t.Logf("%d cuts", cuts)
}
