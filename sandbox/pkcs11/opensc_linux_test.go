// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pkcs11_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/internal/token"
	"github.com/cardbroker/cardbroker/test/pcscbed"
)

// bed is a PC/SC service with the software PIV card in its first reader.
type bed struct {
	*pcscbed.Bed
	library string
	env     []string
	ctx     context.Context
}

func newBed(t *testing.T, card pcscbed.Card) *bed {
	t.Helper()
	library := need(t, "/usr/lib/*/opensc-pkcs11.so")
	if err := pcscbed.Supported(); err != nil {
		testenv.Skip(t, err.Error())
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	b, err := pcscbed.Start(ctx, pcscbed.Config{Dir: filepath.Join(t.TempDir(), "bed"), Readers: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Stop() })
	if err := b.Insert(ctx, 0, card); err != nil {
		t.Fatal(err)
	}
	return &bed{b, library, []string{"PCSCLITE_CSOCK_NAME=" + b.Socket(), "CARDSANDBOX_READ=/etc/opensc"}, ctx}
}

const pivPIN, pivPUK = "123456", "12345678"

// TestOpenSC signs with the keys of the PIV card, of which 9C wants the PIN for each use.
func TestOpenSC(t *testing.T) {
	b := newBed(t, pcscbed.Card{})
	c := start(t, b.library, b.env...)
	slot := c.slot("Software card")
	if reader := b.Readers()[0]; slot.Description != reader {
		t.Errorf("the slot is described as %q, want its reader %q", slot.Description, reader)
	}
	public, private := c.certificates(slot.Stream), c.certificates(slot.Stream, pivPIN)
	for id, key := range map[byte]token.Key{
		1: {Type: "rsa", Bits: 2048, Sign: true, Decrypt: true},
		2: {Type: "ec", Bits: 256, Sign: true, EachUse: true},
		3: {Type: "rsa", Bits: 2048, Decrypt: true},
		4: {Type: "ec", Bits: 256, Sign: true},
	} {
		if got := private[id].Key; got == nil || !reflect.DeepEqual(*got, key) {
			t.Errorf("key %d is %+v, want %+v", id, got, key)
		}
		key.EachUse = false // nobody sees that without the PIN
		if got := public[id].Key; got == nil || !reflect.DeepEqual(*got, key) {
			t.Errorf("without the PIN key %d is %+v, want %+v", id, got, key)
		}
	}
	for _, s := range append(schemes(), signs{4, token.ECDSA}) {
		for _, hash := range hashes() {
			name := fmt.Sprintf("%s with key %d and %s", s.scheme, s.id, hash)
			q := signing(s.id, s.scheme, hash, "one", "two")
			answer, err := c.Ask(slot.Stream, q, pivPIN)
			if err != nil || len(answer.Signatures) != 2 {
				t.Errorf("%s: %d signatures, %v", name, len(answer.Signatures), err)
				continue
			}
			for i, data := range []string{"one", "two"} {
				if err := check(public[s.id].DER, s.scheme, hash, []byte(data), answer.Signatures[i]); err != nil {
					t.Errorf("%s: signature %d: %v", name, i, err)
				}
			}
			c.verifies(t, slot.Stream, q, answer.Signatures)
		}
	}
	_, err := c.Ask(slot.Stream, signing(3, token.RSAPKCS1, token.SHA256, "data"), pivPIN)
	want(t, "a signature by the key for decryption", err, cardbroker.Unsupported)
	run(t, b.env[:1], "opensc-tool", "--reset", "--reader", "0")
	_, err = c.Ask(slot.Stream, signing(1, token.RSAPKCS1, token.SHA256, "data"), pivPIN)
	want(t, "a signature after another program has reset the card", err, "")
	b.removal(t, c, slot)
}

// removal: a slot keeps its stream, and what it says, when its card comes and goes.
func (b *bed) removal(t *testing.T, c *child, slot token.Slot) {
	sign := signing(1, token.RSAPKCS1, token.SHA256, "data")
	if err := b.Remove(b.ctx, 0); err != nil {
		t.Fatal(err)
	}
	_, err := c.Ask(slot.Stream, sign, pivPIN)
	if reason := cardbroker.ReasonOf(err); reason != cardbroker.CardAbsent && reason != cardbroker.CardRemoved {
		t.Errorf("a signature without a card: %v", err)
	}
	answer, err := c.Ask(0, token.Question{Call: token.CallSlots, Present: true})
	if err != nil || len(answer.Slots) != 0 {
		t.Errorf("slots with a card: %+v, %v, want none", answer.Slots, err)
	}
	if err := b.Insert(b.ctx, 0, pcscbed.Card{}); err != nil {
		t.Fatal(err)
	}
	again := c.slot("Software card")
	if again.Stream != slot.Stream || again.ID != slot.ID {
		t.Errorf("the slot is %d on stream %d, was %d on %d", again.ID, again.Stream, slot.ID, slot.Stream)
	}
	_, err = c.Ask(again.Stream, sign, pivPIN)
	want(t, "a signature by another card", err, "")
}

// TestOpenSCUnblock changes, blocks and unblocks the PIN. The PIV card has no security officer that OpenSC could log in; by its
// configuration it takes the PUK where nobody is logged in.
func TestOpenSCUnblock(t *testing.T) {
	b := newBed(t, pcscbed.Card{})
	conf := filepath.Join(t.TempDir(), "opensc.conf")
	const text = "app opensc-pkcs11 {\n\tpkcs11 {\n\t\tuser_pin_unblock_style = set_pin_in_unlogged_session;\n\t}\n}\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	configured := start(t, b.library, b.env[0], "CARDSANDBOX_READ="+conf, "OPENSC_CONF="+conf)
	plain := start(t, b.library, b.env...)
	const other = "654321"
	steps := []struct {
		name    string
		child   *child
		call    token.Call
		secrets []string
		reason  cardbroker.Reason
		retries int
	}{
		{"a PUK for a PIN that is not blocked", configured, token.CallUnblock, []string{pivPUK, other}, cardbroker.Unsupported, 0},
		{"a change", configured, token.CallChangePIN, []string{pivPIN, other}, "", 0},
		{"the old PIN", configured, token.CallLogin, []string{pivPIN}, cardbroker.PINIncorrect, cardbroker.RetriesUnknown},
		{"the old PIN again", configured, token.CallLogin, []string{pivPIN}, cardbroker.PINIncorrect, 1},
		{"the last try", configured, token.CallLogin, []string{pivPIN}, cardbroker.PINBlocked, 0},
		{"the right PIN", configured, token.CallLogin, []string{other}, cardbroker.PINBlocked, 0},
		{"the PUK, without configuration", plain, token.CallUnblock, []string{pivPUK, pivPIN}, cardbroker.PINBlocked, 0},
		{"a wrong PUK", configured, token.CallUnblock, []string{"87654321", pivPIN}, cardbroker.PINIncorrect, cardbroker.RetriesUnknown},
		{"the PUK", configured, token.CallUnblock, []string{pivPUK, pivPIN}, "", 0},
		{"the new PIN", configured, token.CallLogin, []string{pivPIN}, "", 0},
	}
	for _, step := range steps {
		slot := step.child.slot("Software card")
		_, err := step.child.Ask(slot.Stream, token.Question{Call: step.call}, step.secrets...)
		want(t, step.name, err, step.reason)
		if e, ok := errors.AsType[*cardbroker.Error](err); ok && step.reason == cardbroker.PINIncorrect && e.Retries != step.retries {
			t.Errorf("%s: %d tries are left, want %d", step.name, e.Retries, step.retries)
		}
	}
}
