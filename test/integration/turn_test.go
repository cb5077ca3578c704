// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/test/sealed"
)

// choosePIV is SELECT.
const choosePIV = "00A404000BA000000308000010000100"

// TestLocalTurn has a program of the user's compare his PIN while a back end holds the reader: it waits for the end of the back
// end's transaction, the back end waits for it, and neither profits of what the other has left on the card.
func TestLocalTurn(t *testing.T) {
	h, alice, _ := newAttack(t)
	h.setPolicy("passthrough")
	h.start()
	_, line := h.logon(alice)
	at := fmt.Sprintf("127.0.0.1:%d", line.Port)
	blob, err := sealed.PKCS1(h.deviceKey(alice, at), []byte("123456"))
	if err != nil {
		t.Fatal(err)
	}
	reader := h.readerAt(alice, at)
	verify := func() answer { return h.verifyPIN(alice, at, reader, piv(blob)) }
	tunnel := h.tunnel(alice)
	says := func(command, want string) {
		t.Helper()
		if got := h.transmit(tunnel, command); !strings.HasPrefix(got, want) {
			t.Errorf("%s is answered %s, want %s", command, got, want)
		}
	}
	const verified = "00200080" // VERIFY without data asks
	says(verifyPIV, "9000")
	if err := tunnel.Begin(h.Context()); err != nil {
		t.Fatal(err)
	}
	said := make(chan answer)
	go func() { said <- verify() }()
	for range 50 {
		says(verified, "9000")
	}
	select {
	case a := <-said:
		t.Fatalf("verify-pin within the back end's transaction: %d %s", a.Status, a.Body)
	default:
	}
	if err := tunnel.End(h.Context(), cardbroker.LeaveCard); err != nil {
		t.Fatal(err)
	}
	if a := <-said; a.Status != 200 {
		t.Errorf("verify-pin after the transaction: %d %s", a.Status, a.Body)
	}
	says(verified, "card_reset")
	if _, err := tunnel.Connect(h.Context(), cardbroker.ShareShared); err != nil {
		t.Fatal(err)
	}
	says(choosePIV, "61")
	says(verified, "63c3")

	if _, err := tunnel.Connect(h.Context(), cardbroker.ShareExclusive); err != nil {
		t.Fatal(err)
	}
	if a := verify(); a.Status != 409 || !strings.Contains(string(a.Body), "a back end (tenant issuer) holds the reader for itself until ") {
		t.Errorf("verify-pin beside an exclusive lease: %d %s", a.Status, a.Body)
	}
	says(choosePIV, "61")
}
