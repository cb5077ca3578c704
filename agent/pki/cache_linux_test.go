// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pki_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/cache"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/test/softtoken"
)

// TestKept: the certificates of a card that stays in its reader are answered without the module; those of another one are not, nor
// those of what is no card.
func TestKept(t *testing.T) {
	kept := cache.New(cache.Config{Dir: t.TempDir(), Policy: config.Cache{Certificates: config.CacheMemory, Age: time.Hour}, Log: slog.New(slog.DiscardHandler)})
	group := run.New(t.Context())
	defer group.Stop()
	group.Go("cache", kept.Run)
	b := startBed(t, softtoken.Config{Cache: kept})
	ask := func(reason cardbroker.Reason) {
		t.Helper()
		var all map[string]api.TokenCertificates
		if b.want(reason, "GET", "cert-list", nil, &all); reason == "" && len(all["authenticationCertificate"].Certificates) != 1 {
			t.Errorf("the list is %+v", all)
		}
	}
	ask("")
	b.Token.Asked()
	b.Token.FailSlots(cardbroker.Errorf(cardbroker.CardMute, "the module is asked"))
	ask("")
	b.want("", "GET", "authentication-cert", nil, nil)
	if asked := b.Token.Asked(); len(asked) != 0 {
		t.Errorf("of a list that is kept the token is asked %+v", asked)
	}
	b.Insert()
	ask(cardbroker.CardMute)
	ask("")
	b.Remove()
	b.Token.FailSlots(cardbroker.Errorf(cardbroker.CardMute, "the module is asked"))
	ask(cardbroker.CardMute)
	b.on("soft")
	ask("")
	b.Token.FailSlots(cardbroker.Errorf(cardbroker.CardMute, "the module is asked"))
	ask(cardbroker.CardMute)
}
