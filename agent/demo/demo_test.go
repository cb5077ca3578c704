// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package demo_test

import (
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/demo"
)

// TestEnded: the name of a page that was is worth nothing; other names are nobody's business here.
func TestEnded(t *testing.T) {
	page, other := demo.New(true), demo.New(false)
	if page.Name == other.Name {
		t.Fatalf("two pages are called %s", page.Name)
	}
	for origin, want := range map[string]bool{
		"http://" + page.Name + ":24817":  false,
		"https://" + page.Name:            false,
		"http://" + other.Name + ":24817": true,
		"http://" + other.Name:            true,
		"http://demo-shop.localhost":      false,
		"https://shop.example":            false,
		"http://[::1]:24817":              false,
	} {
		if got := page.Ended(cardbroker.Origin(origin)); got != want {
			t.Errorf("Ended(%s) = %v, want %v", origin, got, want)
		}
	}
}

// TestRoutes: policy may want no page.
func TestRoutes(t *testing.T) {
	if with, without := demo.New(true).Routes(), demo.New(false).Routes(); len(with) != 2 || len(without) != 0 {
		t.Errorf("a page has %d routes, and one that is not served %d", len(with), len(without))
	}
}
