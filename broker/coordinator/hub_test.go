// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/run"
)

// TestFullHub: what an agent says waits for room when thousands of tunnels come back at once. It was overloaded, which ended the link.
func TestFullHub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHub(nil)
		group := run.New(t.Context())
		defer group.Stop()
		group.Go("hub", h.Run)
		l := &Link{View: View{Agent: cardbroker.Agent{Key: cardbroker.AgentKey{User: alice, Session: "1"}, Route: "0123456789abcdef"}}}
		if err := h.Join(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		release := make(chan struct{})
		group.Go("busy", func(context.Context) error {
			return h.Must(func(*Links) error { <-release; return nil })
		})
		synctest.Wait()
		gone, leave := context.WithCancel(t.Context())
		leave()
		for cardbroker.ReasonOf(h.Do(gone, func(*Links) error { return nil })) != cardbroker.Overloaded { // as many as there is room for
		}
		said := run.New(t.Context())
		said.Go("update", func(context.Context) error {
			return h.Update(l.Agent.Route, func(v *View) { v.Presence.Locked = true })
		})
		said.Go("answer", func(context.Context) error { return h.answered(l.Agent.Route, api.Answer{}) })
		synctest.Wait()
		close(release)
		if err := said.Wait(); err != nil {
			t.Errorf("an agent's words are answered %v", err)
		}
		if !h.View()[0].Presence.Locked {
			t.Error("an agent's words are lost")
		}
	})
}
