// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package gate_test

import (
	"context"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/gate"
)

// TestGate closes a gate on those who are inside and on those who come.
func TestGate(t *testing.T) {
	g := gate.New()
	inside, leave, err := g.Enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer leave()
	why := cardbroker.Errorf(cardbroker.Forbidden, "closed")
	g.Close(why)
	<-inside.Done()
	if context.Cause(inside) != why || g.Closed() != why {
		t.Errorf("the cause is %v, want %v", context.Cause(inside), why)
	}
	if _, _, err := g.Enter(t.Context()); err != why {
		t.Errorf("enter = %v, want %v", err, why)
	}
	g.Open()
	if _, leave, err := g.Enter(t.Context()); err != nil {
		t.Errorf("enter after open = %v", err)
	} else {
		leave()
	}
	if inside.Err() == nil {
		t.Error("who was turned out is inside again")
	}
}
