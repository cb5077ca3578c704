// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package virtualreader

import (
	"bytes"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardbroker/cardbroker"
)

// conversation is what a back end does, from Hello to the end.
func conversation(s *stage) error {
	ctx := s.t.Context()
	tunnel, err := s.tunnel(ctx)
	if err != nil {
		return fmt.Errorf("Hello: %w", err)
	}
	defer tunnel.Close()
	if _, err := tunnel.Connect(ctx, cardbroker.ShareShared); err != nil {
		return fmt.Errorf("Connect: %w", err)
	}
	if err := tunnel.Begin(ctx); err != nil {
		return fmt.Errorf("Begin: %w", err)
	}
	for n := range 20 {
		if n%7 == 6 {
			time.Sleep(time.Second) // the attendant reads
		}
		a, err := tunnel.Transmit(ctx, command(n))
		if err != nil {
			return fmt.Errorf("command %d: %w", n, err)
		}
		if want := append(command(n), 0x90, 0); !bytes.Equal(a.Response, want) {
			return fmt.Errorf("command %d is answered by % x", n, a.Response)
		}
	}
	if err := tunnel.End(ctx, cardbroker.LeaveCard); err != nil {
		return fmt.Errorf("End: %w", err)
	}
	if d, err := tunnel.Renew(ctx, time.Minute); err != nil || d != time.Minute {
		return fmt.Errorf("Renew: %v, %w", d, err)
	}
	if want := uint64(s.connections() - 1); tunnel.Resumed() != want && s.cut != nil && tunnel.Resumed() == 0 {
		return fmt.Errorf("Resumed = %d after %d connections", tunnel.Resumed(), want+1)
	}
	return nil
}

// TestCutAtEveryFrame cuts the connection between any two frames, and between a frame and its answer: the holder executes each
// frame once, and the back end gets every answer.
func TestCutAtEveryFrame(t *testing.T) {
	boundaries := 0
	synctest.Test(t, func(t *testing.T) {
		h := &holder{}
		onStage(t, h, func(s *stage) {
			if err := conversation(s); err != nil {
				t.Fatal(err)
			}
		})
		boundaries = h.steps
	})
	const hello = 2 // until then there is no lease: received, before Welcome
	cuts := map[string]func(at int) func(step int) bool{
		"once":     func(at int) func(int) bool { return func(step int) bool { return step == at } },
		"twice":    func(at int) func(int) bool { return func(step int) bool { return step == at || step == at+1 } },
		"resumed":  func(at int) func(int) bool { return func(step int) bool { return step == at || step == at+3 } },
		"answered": func(at int) func(int) bool { return func(step int) bool { return step >= at && step <= at+8 } },
	}
	for name, cut := range cuts {
		for at := 1; at <= boundaries; at++ {
			synctest.Test(t, func(t *testing.T) {
				h := &holder{cut: cut(at)}
				onStage(t, h, func(s *stage) {
					err := conversation(s)
					if at <= hello {
						if cardbroker.ReasonOf(err) != cardbroker.Unavailable {
							t.Errorf("%s at %d, before there is a lease: %v, want %s", name, at, err, cardbroker.Unavailable)
						}
						return
					}
					if err != nil {
						t.Errorf("%s at %d: %v", name, at, err)
					}
				})
				for seq, n := range h.runs {
					if n != 1 {
						t.Errorf("%s at %d: seq %d was executed %d times", name, at, seq, n)
					}
				}
				if want := 25; at > hello && len(h.runs) != want {
					t.Errorf("%s at %d: %d frames were executed, want %d", name, at, len(h.runs), want)
				}
			})
		}
	}
	t.Logf("%d frame boundaries", boundaries)
}
