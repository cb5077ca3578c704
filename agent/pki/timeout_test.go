// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/token"
)

// slow is a module that takes its time to list its slots.
type slow struct {
	Tokens
	takes time.Duration
}

func (s slow) Slots(ctx context.Context, _ string, _ bool) ([]token.Slot, error) {
	select {
	case <-time.After(s.takes):
		return []token.Slot{{Description: "it", Token: &token.Token{}}}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TestTimeout: the timeout of a body counts from the beginning, while the token is looked for as well as afterwards, and is a number of seconds up to 60.
func TestTimeout(t *testing.T) {
	for name, test := range map[string]struct {
		takes   time.Duration
		seconds *int
		want    cardbroker.Reason
		after   time.Duration
	}{
		"a module that hangs":            {time.Hour, new(7), cardbroker.Timeout, 7 * time.Second},
		"a module that is slow":          {5 * time.Second, new(7), cardbroker.Timeout, 7 * time.Second},
		"none: as the request":           {time.Hour, nil, cardbroker.Timeout, workLimit},
		"more than may be":               {0, new(61), cardbroker.Invalid, 0},
		"none at all":                    {0, new(0), cardbroker.Invalid, 0},
		"one that has passed":            {0, new(-1), cardbroker.Invalid, 0},
		"the most, longer than the rest": {0, new(60), cardbroker.Timeout, workLimit},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := New(Config{Modules: func() []config.Module { return []config.Module{{Name: "m"}} }, Tokens: slow{takes: test.takes}})
				ctx, cancel := context.WithTimeout(t.Context(), workLimit)
				defer cancel()
				r := httptest.NewRequestWithContext(ctx, "POST", "/", nil)
				r.SetPathValue("module", "m")
				r.SetPathValue("id", string(p.slotID(config.Module{Name: "m"}, token.Slot{Description: "it", Token: &token.Token{}})))
				begun := time.Now()
				err := p.at(r, test.seconds, func(r *http.Request, _ place) error {
					<-r.Context().Done()
					return r.Context().Err()
				})
				if took := time.Since(begun); cardbroker.ReasonOf(err) != test.want || took != test.after {
					t.Errorf("at() = %v after %v, want %s after %v", err, took, test.want, test.after)
				}
			})
		})
	}
}
