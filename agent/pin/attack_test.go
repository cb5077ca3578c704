// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pin_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/devicekey"
	"github.com/cardbroker/cardbroker/agent/pin"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/jose"
	"github.com/cardbroker/cardbroker/test/sealed"
)

// naive takes PINs to a card as one writes it at first: it decrypts what it can, takes the rest for a PIN in clear, keeps the last
// PIN of the reader, and lets the card count.
type naive struct {
	*bed
	card sync.Mutex
	mu   sync.Mutex
	kept []byte

	looks *sync.WaitGroup // not nil: it looks how many tries are left, on a connection of its own, and each that will ask has looked
}

// racers are the requests of pages that race.
const racers = 8

// request is what a page sends; text is the field of the PIN.
type request struct {
	origin cardbroker.Origin
	text   string
}

func (n *naive) enter(r request) error {
	if n.looks != nil {
		n.card.Lock()
		left := n.left()
		n.card.Unlock()
		n.looks.Done()
		if n.looks.Wait(); left < 2 {
			return cardbroker.Errorf(cardbroker.Forbidden, "too few tries are left")
		}
	}
	n.card.Lock()
	defer n.card.Unlock()
	w := n.wish(r.origin, "")
	target, _, err := w.Open(n.t.Context())
	if err != nil {
		return err
	}
	defer target.Close()
	secret, err := n.open(r.text)
	if err != nil {
		return err
	}
	if len(secret) > 8 {
		return cardbroker.Errorf(cardbroker.Invalid, "a PIN has 4 to 8 characters")
	}
	err = target.Verify(n.t.Context(), secret, nil)
	if err == nil {
		n.mu.Lock()
		n.kept = secret
		n.mu.Unlock()
	}
	return err
}

func (n *naive) open(text string) ([]byte, error) {
	if text == "" {
		n.mu.Lock()
		defer n.mu.Unlock()
		return slices.Clone(n.kept), nil
	}
	if s, err := jose.ParseSealed(text); err == nil {
		if secret, ok := n.keys.OpenJWE(s); ok {
			return secret, nil
		}
		return []byte(text[len(text)-8:]), nil
	}
	if blob, err := base64.StdEncoding.DecodeString(text); err == nil && len(blob) == 256 {
		secret, ok, err := n.keys.OpenPKCS1(blob)
		if err == nil && !ok {
			err = cardbroker.Errorf(cardbroker.Invalid, "the PIN cannot be decrypted")
		}
		return secret, err
	}
	return []byte(text), nil
}

// TestAttacks runs each attack against the naive way, which it must fool, and against ours, which it must not.
func TestAttacks(t *testing.T) {
	keep := func(c *pin.Config) { c.Policy.Session = config.PINSession{Time: time.Hour, Uses: 100} }
	for _, test := range []struct {
		name   string
		change func(*pin.Config)
		fooled func(b *bed, enter func(request) error) bool
	}{
		{"tells a wrong padding from a wrong PIN (Bleichenbacher)", nil, oracle},
		{"replays a JWE", nil, func(b *bed, enter func(request) error) bool {
			again := request{shop, b.jwe(b.key(0), shop, nil)}
			first, second := enter(again), enter(again)
			return first == nil && second == nil
		}},
		{"replays a JWE from another page", nil, func(b *bed, enter func(request) error) bool {
			return enter(request{evil, b.jwe(b.key(0), shop, nil)}) == nil
		}},
		{"a JWE for another reader", nil, func(b *bed, enter func(request) error) bool {
			return enter(request{shop, b.jwe(b.key(0), shop, sealed.Header{"aud": "fedcba9876543210"})}) == nil
		}},
		{"a JWE that is good for a year", nil, func(b *bed, enter func(request) error) bool {
			return enter(request{shop, b.jwe(b.key(0), shop, sealed.Header{"exp": time.Now().AddDate(1, 0, 0).Unix()})}) == nil
		}},
		{"a JWE of another kind, signed off as a PIN", nil, func(b *bed, enter func(request) error) bool {
			return enter(request{shop, b.jwe(b.key(0), shop, sealed.Header{"typ": "JWE"})}) == nil
		}},
		{"a JWE for another agent's key is sent to the card as it is", nil, func(b *bed, enter func(request) error) bool {
			other := devicekey.New(nil)
			if err := other.Make(b.t.Context()); err != nil {
				b.t.Fatal(err)
			}
			public, err := other.Public()
			if err != nil {
				b.t.Fatal(err)
			}
			enter(request{shop, b.jwe(public.Keys[0], shop, nil)})
			return b.sent.Load() > 0
		}},
		{"blocks the card by guessing", nil, func(b *bed, enter func(request) error) bool {
			for range 5 {
				enter(request{evil, b.pkcs1(wrong)})
			}
			return b.left() == 0
		}},
		{"blocks the card by two pages that race", nil, func(b *bed, enter func(request) error) bool {
			blobs := []request{{evil, b.pkcs1(wrong)}, {shop, b.pkcs1(wrong)}}
			var wg sync.WaitGroup
			for i := range racers {
				wg.Go(func() { enter(blobs[i%2]) })
			}
			wg.Wait()
			return b.left() == 0
		}},
		{"guesses for ever: each right PIN of the user's gives the tries back", nil, func(b *bed, enter func(request) error) bool {
			const rounds = 6
			for range rounds {
				enter(request{evil, b.pkcs1(wrong)})
				enter(request{shop, b.pkcs1(right)})
			}
			return b.sent.Load() == 2*rounds
		}},
		{"another page uses the PIN that was kept", keep, func(b *bed, enter func(request) error) bool {
			return enter(request{shop, b.pkcs1(right)}) == nil && enter(request{evil, ""}) == nil
		}},
		{"the PIN that was kept goes to another card", keep, func(b *bed, enter func(request) error) bool {
			if enter(request{shop, b.pkcs1(right)}) != nil {
				b.t.Error("the right PIN is refused")
			}
			b.insert()
			sent := b.sent.Load()
			enter(request{shop, ""})
			return b.sent.Load() > sent
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := &naive{bed: newBed(t, nil)}
			if strings.Contains(test.name, "race") {
				n.looks = new(sync.WaitGroup)
				n.looks.Add(racers)
			}
			if !test.fooled(n.bed, n.enter) {
				t.Error("the naive way is not fooled: this is no attack")
			}
			b := newBed(t, test.change)
			ours := func(r request) error { return b.keeper.Enter(t.Context(), b.wish(r.origin, r.text)) }
			if test.fooled(b, ours) {
				t.Error("we are fooled")
			}
		})
	}
}

// jwe encrypts the right PIN with a good header that is changed.
func (b *bed) jwe(key api.DeviceJWK, origin cardbroker.Origin, change sealed.Header) string {
	b.t.Helper()
	header := sealed.NewHeader(key, string(id), b.nonce(origin))
	maps.Copy(header, change)
	text, err := sealed.JWE(key, header, []byte(right))
	if err != nil {
		b.t.Fatal(err)
	}
	return text
}

// oracle sends blocks that begin as PKCS #1 wants it, and others, none of which is a PIN, and says whether the answers tell them
// apart: then an attacker decrypts any PIN that he has seen, with some ten thousand questions.
func oracle(b *bed, enter func(request) error) bool {
	told := map[bool]map[string]bool{true: {}, false: {}}
	for _, block := range blocks() {
		err := enter(request{cardbroker.Origin("https://" + block.name + ".example"), b.raw(block.bytes)})
		body, _ := json.Marshal(api.Describe(err))
		told[block.padded][string(body)] = true
	}
	if left := b.left(); left != 3 {
		b.t.Errorf("%d tries are left: a card was asked", left)
	}
	return !maps.Equal(told[true], told[false]) || len(told[true]) != 1
}

func (b *bed) raw(block []byte) string {
	b.t.Helper()
	public, err := b.keys.Public()
	if err != nil {
		b.t.Fatal(err)
	}
	key, err := sealed.PublicKey(public.PEM)
	if err != nil {
		b.t.Fatal(err)
	}
	return sealed.Raw(key, block)
}

type block struct {
	name   string
	padded bool
	bytes  []byte
}

// blocks are what an RSA key decrypts to, RFC 8017 §7.2.1: 00 02, eight bytes or more that are not 0, a 0, the text.
func blocks() []block {
	make := func(name string, padded bool, change func(b []byte)) block {
		b := slices.Repeat([]byte{0x55}, 256)
		b[0], b[1], b[200] = 0, 2, 0
		change(b)
		return block{name, padded, b}
	}
	return []block{
		make("good", true, func([]byte) {}),
		make("much", true, func(b []byte) { b[200], b[10] = 0x55, 0 }),
		make("control", true, func(b []byte) { b[200] = 0x55; copy(b[249:], "\x00\x011234") }),
		make("empty", true, func(b []byte) { b[200], b[255] = 0x55, 0 }),
		make("nozero", false, func(b []byte) { b[200] = 0x55 }),
		make("type1", false, func(b []byte) { b[1] = 1 }),
		make("first", false, func(b []byte) { b[0] = 1 }),
		make("short", false, func(b []byte) { b[5] = 0 }),
		make("pin", false, func(b []byte) { b[1] = 1; copy(b[249:], "\x00123456") }),
	}
}

// TestOracleTime measures whether the time tells a wrong padding from a right one, on the way that is taken but for the limit of ten a
// minute. What would tell does so each time; a busy machine does not.
func TestOracleTime(t *testing.T) {
	b := newBed(t, nil)
	var padded, not []string
	for range 300 {
		padded = append(padded, b.raw(blocks()[0].bytes))
		not = append(not, b.raw(blocks()[4].bytes))
	}
	for range 5 {
		a, c := b.times(padded, not)
		t.Logf("lower tenth of %d: padded %v, not %v (%+.2f %%)", len(padded), a, c, 100*(float64(c)/float64(a)-1))
		if ratio := float64(a) / float64(c); ratio > 0.95 && ratio < 1.05 {
			return
		}
	}
	t.Error("the time tells")
}

// times opens two kinds of blobs in turn and returns how long each took, at its best tenth.
func (b *bed) times(one, other []string) (time.Duration, time.Duration) {
	b.t.Helper()
	took := [2][]time.Duration{}
	for i := range one {
		for n, text := range []string{one[i], other[i]} {
			blob, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				b.t.Fatal(err)
			}
			start := time.Now()
			secret, ok, err := b.keys.OpenPKCS1(blob)
			if err != nil {
				b.t.Fatal(err)
			}
			_, err = pin.Take(b.verify.Shape(), secret, ok)
			took[n] = append(took[n], time.Since(start))
			if cardbroker.ReasonOf(err) != cardbroker.Invalid {
				b.t.Fatal(err)
			}
		}
	}
	slices.Sort(took[0])
	slices.Sort(took[1])
	return took[0][len(one)/10], took[1][len(one)/10]
}

// TestFloor: a page never spends the last tries; the user is asked, and may.
func TestFloor(t *testing.T) {
	for _, floor := range []int{0, 1, 2} {
		b := newBed(t, func(c *pin.Config) { c.Policy.Floor = floor })
		for range 3 - max(1, floor) {
			want(t, "above the floor", b.enter(evil, wrong), "pin_incorrect")
		}
		want(t, "at the floor, and the user does not want to", b.enter(evil, wrong), "pin_canceled")
		if q := b.asked.Load(); q == nil || !q.Few || q.Tries != max(1, floor) || q.Origin != evil {
			t.Errorf("the user was asked %+v", q)
		}
		if left := b.left(); left != max(1, floor) {
			t.Errorf("%d tries are left with the floor %d", left, floor)
		}
		b.will(right)
		want(t, "at the floor, and the user enters it", b.enter(evil, wrong), "")
	}
	b := newBed(t, func(c *pin.Config) { c.Ask, c.Policy.Floor = nil, 3 })
	want(t, "at the floor, and nobody can be asked", b.enter(shop, right), "forbidden pin_floor")
}

// TestCardThatDoesNotCount: where a card does not say how many tries it has, one wrong PIN of a page's is the last.
func TestCardThatDoesNotCount(t *testing.T) {
	b := newBed(t, nil)
	b.counted = silentTries
	err := b.enter(evil, wrong)
	want(t, "the first", err, "pin_incorrect")
	if e, ok := errors.AsType[*cardbroker.Error](err); !ok || e.Retries != cardbroker.RetriesUnknown || api.Describe(err).Retries != nil {
		t.Errorf("a wrong PIN = %+v, want unknown retries", err)
	}
	for range 3 {
		want(t, "the next", b.enter(evil, wrong), "pin_canceled")
	}
	want(t, "another page", b.enter(shop, right), "pin_canceled")
	b.will(right)
	want(t, "the user", b.enter(shop, ""), "")
	want(t, "then a page", b.enter(shop, right), "")
	if left := b.left(); left != 3 {
		t.Errorf("%d tries are left", left)
	}
}

// TestManyWaysToOnePIN: a PIN that does not say how many tries it has may be reached under several names (encodings, applications, modules): a page
// has one try of the card, not one of each.
func TestManyWaysToOnePIN(t *testing.T) {
	b := newBed(t, nil)
	b.counted = silentTries
	as := func(use, text string) error {
		w := b.wish(evil, b.pkcs1(text))
		w.Use = use
		return b.keeper.Enter(t.Context(), w)
	}
	want(t, "the first", as("verify 80", wrong), "pin_incorrect")
	for _, use := range []string{"verify 80 ascii", "PIN opensc 1", "PIN other 1"} {
		want(t, use, as(use, wrong), "pin_canceled")
	}
	if left := b.left(); left != 2 {
		t.Errorf("%d tries are left, want 2", left)
	}
}

// silentTries has a card not say how many tries are left.
func silentTries(c *card) {
	c.after = func(answer, command []byte) {
		if n := len(answer); command[1] == 0x20 && answer[n-2] == 0x63 {
			answer[n-1] = 0 // 6300: wrong, and no more is said
		}
	}
}

// TestRate: a page has ten PINs a minute, all have thirty; who is asked and does not answer makes it fewer.
func TestRate(t *testing.T) {
	b := newBed(t, nil)
	n := 0
	for ; n < 100 && reason(b.enter(evil, right)) == ""; n++ {
	}
	if n != 10 {
		t.Errorf("a page has %d PINs, want 10", n)
	}
	want(t, "the next", b.enter(evil, right), "rate_limited pin_rate")
	for n = 0; n < 100 && reason(b.enter(shop, "")) == "pin_canceled"; n++ {
	}
	if n < 3 || n > 4 {
		t.Errorf("a page has the user asked %d times, want 4", n)
	}
}

// TestOneAtATime: while the user is asked for one PIN nobody else reaches that reader.
func TestOneAtATime(t *testing.T) {
	b := newBed(t, nil)
	b.asking = make(chan struct{})
	done := make(chan error, 1)
	go func() { done <- b.enter(shop, "") }()
	for b.asked.Load() == nil {
		select {
		case err := <-done:
			t.Fatal(err)
		case <-time.After(time.Millisecond):
		}
	}
	want(t, "another", b.enter(evil, right), "reader_busy")
	b.will(right)
	b.held.Store(true) // meanwhile a back end takes the reader
	close(b.asking)
	want(t, "who was asked", <-done, "reader_busy")
	if b.sent.Load() != 0 {
		t.Error("a PIN went to a card that a back end holds")
	}
}

// jweOf encrypts the right PIN with a nonce.
func (b *bed) jweOf(nonce string) string {
	b.t.Helper()
	text, err := sealed.JWE(b.key(0), sealed.NewHeader(b.key(0), string(id), nonce), []byte(right))
	if err != nil {
		b.t.Fatal(err)
	}
	return text
}
