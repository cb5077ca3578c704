// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pin_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/pin"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/test/sealed"
)

func TestEnter(t *testing.T) {
	b := newBed(t, nil)
	want(t, "a right PIN", b.enter(shop, right), "")
	err := b.enter(shop, wrong)
	want(t, "a wrong PIN", err, "pin_incorrect")
	if e, ok := err.(*cardbroker.Error); !ok || e.Retries != 2 {
		t.Errorf("a wrong PIN = %v, want 2 tries", err)
	}
	for n, name := range []string{"ECDH-ES", "RSA-OAEP-256"} {
		text, err := sealed.JWE(b.key(n), sealed.NewHeader(b.key(n), string(id), b.nonce(shop)), []byte(right))
		if err != nil {
			t.Fatal(err)
		}
		want(t, name, b.keeper.Enter(t.Context(), b.wish(shop, text)), "")
	}
	want(t, "nobody answers", b.enter(shop, ""), "pin_canceled")
	b.will(right)
	want(t, "the user", b.enter(shop, ""), "")
	b.will("123")
	want(t, "the user, too short", b.enter(shop, ""), "invalid")
	b.held.Store(true)
	want(t, "a back end has the reader", b.enter(shop, right), "reader_busy")
	wantNames(t, b.names(), "pin_verified", "pin_refused", "pin_verified", "pin_verified", "pin_refused", "pin_verified", "pin_refused", "pin_refused")
	if left := b.left(); left != 3 {
		t.Errorf("%d tries are left, want 3", left)
	}
}

// TestNobodyFindsItVerified: the card is reset when its PIN was compared.
func TestNobodyFindsItVerified(t *testing.T) {
	b := newBed(t, nil)
	want(t, "a right PIN", b.enter(shop, right), "")
	b.left() // fails where the card does not say, as it does while the PIN is verified
}

// TestAlwaysAsk: with ask: always the user is asked, whatever a page sends, and what it sends is not looked at.
func TestAlwaysAsk(t *testing.T) {
	b := newBed(t, func(c *pin.Config) { c.Policy.Ask = true })
	want(t, "a page's PIN, and he does not want to", b.enter(shop, right), "pin_canceled")
	b.will(right)
	want(t, "a page's wrong PIN, and the user's", b.enter(shop, wrong), "")
	want(t, "a PIN in clear", b.keeper.Enter(t.Context(), b.wish(shop, "1234")), "")
	if q := b.asked.Load(); q == nil || q.Origin != shop || q.Reader == "" || q.Shape.Max != 8 {
		t.Errorf("he was asked %+v", q)
	}
}

// TestClear: a PIN in clear is refused unless policy allows it.
func TestClear(t *testing.T) {
	b := newBed(t, nil)
	want(t, "by default", b.keeper.Enter(t.Context(), b.wish(shop, right)), "pin_not_encrypted pin_clear")
	b = newBed(t, func(c *pin.Config) { c.Policy.Clear = true })
	want(t, "by policy", b.keeper.Enter(t.Context(), b.wish(shop, right)), "")
	want(t, "a wrong one by policy", b.keeper.Enter(t.Context(), b.wish(shop, wrong)), "pin_incorrect")
	want(t, "with a character that no PIN has", b.keeper.Enter(t.Context(), b.wish(shop, "12345\x7F")), "invalid")
	want(t, "too long for anything", b.keeper.Enter(t.Context(), b.wish(shop, strings.Repeat("1", 65))), "invalid")
}

// TestShortBlob: JSEncrypt, which existing clients encrypt PINs with, sends a number without the zeros in front.
func TestShortBlob(t *testing.T) {
	b := newBed(t, nil)
	var blob []byte
	for len(blob) == 0 || blob[0] != 0 {
		var err error
		if blob, err = base64.StdEncoding.DecodeString(b.pkcs1(right)); err != nil {
			t.Fatal(err)
		}
	}
	want(t, "without its zero", b.keeper.Enter(t.Context(), b.wish(shop, base64.StdEncoding.EncodeToString(blob[1:]))), "")
	want(t, "without another byte", b.keeper.Enter(t.Context(), b.wish(shop, base64.StdEncoding.EncodeToString(blob[2:]))), "invalid")
}

// TestBlocked: what has no tries left is not asked for another.
func TestBlocked(t *testing.T) {
	b := newBed(t, nil)
	b.will(wrong)
	for _, reason := range []string{"pin_incorrect", "pin_incorrect", "pin_blocked"} {
		want(t, "the user's wrong PIN", b.enter(shop, ""), reason)
	}
	sent := b.sent.Load()
	want(t, "a right PIN", b.enter(shop, right), "pin_blocked")
	if b.sent.Load() != sent {
		t.Error("a blocked card is sent a PIN")
	}
}

// TestEncodings puts a PIN into the data of VERIFY.
func TestEncodings(t *testing.T) {
	for _, test := range []struct {
		encoding pin.Encoding
		pin      string
		want     string // the command; "": the PIN does not fit
	}{
		{"", "1234", "002000800831323334FFFFFFFF"},
		{pin.EncodingPIV, "12345678", "00200080083132333435363738"},
		{pin.EncodingPIV, "123456789", ""},
		{pin.EncodingASCII, "p4ss!", "00200080057034737321"},
		{pin.EncodingASCII, "123", ""},
		{pin.EncodingBCD, "12345", "002000800812345FFFFFFFFFFF"},
		{pin.EncodingBCD, "12a45", ""},
		{pin.EncodingBlock, "1234", "0020008008241234FFFFFFFFFF"},
		{pin.EncodingBlock, "123456789012", "00200080082C123456789012FF"},
		{pin.EncodingBlock, "1234567890123", ""},
	} {
		t.Run(fmt.Sprint(test.encoding, " ", test.pin), func(t *testing.T) {
			b := newBed(t, func(c *pin.Config) { c.Policy.Clear = true })
			var err error
			if b.verify, err = pin.NewVerify(0x80, test.encoding, pivAID); err != nil {
				t.Fatal(err)
			}
			var sent string
			b.counted = func(c *card) {
				c.before = func(command []byte) {
					if command[1] == 0x20 && len(command) > 4 {
						sent = fmt.Sprintf("%X", command)
					}
				}
			}
			err = b.keeper.Enter(t.Context(), b.wish(shop, test.pin))
			if sent != test.want {
				t.Errorf("the card is sent %s, want %s (%v)", sent, test.want, err)
			}
		})
	}
	for _, bad := range []func() (pin.Verify, error){
		func() (pin.Verify, error) { return pin.NewVerify(0x80, "ebcdic", nil) },
		func() (pin.Verify, error) { return pin.NewVerify(0x80, "", make([]byte, 4)) },
		func() (pin.Verify, error) { return pin.NewVerify(0x80, "", make([]byte, 17)) },
	} {
		if _, err := bad(); cardbroker.ReasonOf(err) != cardbroker.Invalid {
			t.Errorf("NewVerify = %v, want invalid", err)
		}
	}
}

// TestAskerLeaves: who leaves while the card has the command is told nothing, but the try is counted and the card reset.
func TestAskerLeaves(t *testing.T) {
	b := newBed(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	b.counted = func(c *card) {
		c.before = func(command []byte) {
			if command[1] == 0x20 && len(command) > 4 {
				cancel()
			}
		}
	}
	want(t, "a wrong PIN", b.keeper.Enter(ctx, b.wish(shop, b.pkcs1(wrong))), "pin_incorrect")
	b.counted = nil
	if left := b.left(); left != 2 {
		t.Errorf("%d tries are left, want 2", left)
	}
}

// TestField takes a PIN out of JSON, and out of the buffer that it came in.
func TestField(t *testing.T) {
	for text, ok := range map[string]bool{`{"pin":"1234"}`: true, `{"pin":"ab\/c+="}`: true, `{"pin":null}`: true, `{"pin":1234}`: false, `{"pin":["1234"]}`: false,
		`{"pin":{"a":"1234"}}`: false, `{"pin":"1234","pin":"5678"}`: false, `{"pin":"\u0031234"}`: false, `{"pin":true}`: false, `{"pin":"` + strings.Repeat("1", 5000) + `"}`: false} {
		var v struct {
			PIN pin.Field `json:"pin"`
		}
		buf := []byte(text)
		err := json.Unmarshal(buf, &v)
		if (err == nil) != ok {
			t.Errorf("%.40s: %v, want ok=%v", text, err, ok)
		}
		if err != nil && strings.Contains(err.Error(), "234") {
			t.Errorf("the error %v holds the PIN", err)
		}
		if strings.Contains(string(buf), "1234") || strings.Contains(string(buf), "5678") {
			t.Errorf("a PIN is left in the buffer: %s", buf)
		}
		if said := fmt.Sprintf("%v %+v %#v", v, &v, v.PIN); strings.Contains(said, "1234") {
			t.Errorf("a PIN shows: %s", said)
		}
	}
}

func TestConfigKeeps(t *testing.T) {
	if (config.PINPolicy{}).Session.Keeps() {
		t.Error("PINs are kept by default")
	}
}
