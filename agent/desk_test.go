// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/run"
)

func startDesk(t *testing.T) *desk {
	t.Helper()
	d := newDesk()
	group := run.New(t.Context())
	group.Go("desk", d.Run)
	t.Cleanup(func() { group.Stop() })
	return d
}

func free(string) error { return nil }
func held(string) error { return cardbroker.Errorf(cardbroker.ReaderBusy, "somebody uses the reader") }

func mint(t *testing.T, d *desk) cardbroker.Secret {
	t.Helper()
	secret, _, err := d.mint(t.Context(), offer{tenant: "issuer", name: "Reader 0", id: "0123456789abcdef"})
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// TestTicketsThatAreNotGood looks alike whatever is wrong, and burns nothing.
func TestTicketsThatAreNotGood(t *testing.T) {
	d := startDesk(t)
	secret := mint(t, d)
	for name, wish := range map[string]struct {
		secret cardbroker.Secret
		tunnelWish
	}{
		"unknown secret": {cardbroker.RandomSecret(), tunnelWish{id: "t", tenant: "issuer", reader: "-", taken: free}},
		"no secret":      {cardbroker.Secret{}, tunnelWish{id: "t", tenant: "issuer", reader: "-", taken: free}},
		"other tenant":   {secret, tunnelWish{id: "t", tenant: "rival", reader: "-", taken: free}},
		"other reader":   {secret, tunnelWish{id: "t", tenant: "issuer", reader: "fedcba9876543210", taken: free}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := d.burn(t.Context(), wish.secret, wish.tunnelWish)
			if cardbroker.ReasonOf(err) != cardbroker.Unauthenticated || cardbroker.RuleOf(err) != cardbroker.RuleTicket {
				t.Errorf("burn = %v, want unauthenticated by rule ticket", err)
			}
		})
	}
	if _, err := d.burn(t.Context(), secret, tunnelWish{id: "t", tenant: "issuer", reader: "-", taken: held}); cardbroker.ReasonOf(err) != cardbroker.ReaderBusy {
		t.Errorf("burn while the reader is held = %v, want reader_busy", err)
	}
	burnt, err := d.burn(t.Context(), secret, tunnelWish{id: "t", tenant: "issuer", reader: "0123456789abcdef", taken: free})
	if err != nil || burnt.name != "Reader 0" {
		t.Errorf("burn after all that = %+v, %v, want the offer", burnt, err)
	}
	if _, err := d.burn(t.Context(), secret, tunnelWish{id: "u", tenant: "issuer", reader: "-", taken: free}); cardbroker.ReasonOf(err) != cardbroker.Unauthenticated {
		t.Errorf("second burn = %v, want unauthenticated", err)
	}
}

func TestTicketsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startDesk(t)
		secret, used := mint(t, d), mint(t, d)
		if _, err := d.burn(t.Context(), used, tunnelWish{id: "t", tenant: "issuer", reader: "-", taken: free}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(ticketLife)
		synctest.Wait()
		if _, err := d.burn(t.Context(), secret, tunnelWish{id: "u", tenant: "issuer", reader: "-", taken: free}); err == nil {
			t.Error("an expired ticket was taken")
		}
		if view := *d.view.Load(); len(view) != 1 || view[0].tunnel != "t" {
			t.Errorf("offers = %+v, want the one that a tunnel holds", view)
		}
		d.finish("t")
		if view := *d.view.Load(); len(view) != 0 {
			t.Errorf("offers after the tunnel = %+v, want none", view)
		}
	})
}

func TestOffersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := startDesk(t)
		for range maxOffers {
			mint(t, d)
		}
		if _, _, err := d.mint(t.Context(), offer{tenant: "issuer"}); cardbroker.ReasonOf(err) != cardbroker.RateLimited {
			t.Errorf("one offer too many = %v, want rate_limited", err)
		}
		time.Sleep(ticketLife)
		mint(t, d)
	})
}
