// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pin_test

import (
	"context"
	"encoding/binary"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/devicekey"
	"github.com/cardbroker/cardbroker/agent/pin"
	"github.com/cardbroker/cardbroker/apdu"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/pinpad"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/sandbox"
	"github.com/cardbroker/cardbroker/sandbox/softcard"
	"github.com/cardbroker/cardbroker/test/sealed"
)

// The software card's PIN, a wrong one, and the pages of the tests.
const (
	right = "123456"
	wrong = "654321"
	id    = cardbroker.ReaderID("0123456789abcdef")

	shop = cardbroker.Origin("https://shop.example")
	evil = cardbroker.Origin("https://evil.example")
)

var pivAID = []byte("\xA0\x00\x00\x03\x08")

// theKeys are made once: it takes a while.
var theKeys = sync.OnceValue(func() *devicekey.Keys {
	keys := devicekey.New(nil)
	if err := keys.Make(context.Background()); err != nil {
		panic(err)
	}
	return keys
})

// bed is a keeper with a software card.
type bed struct {
	t       testing.TB
	keys    *devicekey.Keys
	keeper  *pin.Keeper
	reader  *softcard.Reader
	present atomic.Pointer[cardbroker.Card]
	changed chan struct{}
	held    atomic.Bool
	asked   atomic.Pointer[pin.Question]
	answer  atomic.Pointer[string] // of the user; nil: he does not want to
	asking  chan struct{}          // if not nil, the user waits for it
	verify  pin.Verify
	counted func(*card)                      // has a hand in the card
	pad     func() ([]byte, apdu.StatusWord) // what the user does at the reader: a PIN, or the status word in its place
	sent    atomic.Int64

	mu     sync.Mutex
	events []cardbroker.Event
}

// newBed runs a keeper; change, if not nil, changes its configuration first.
func newBed(t testing.TB, change func(*pin.Config)) *bed {
	t.Helper()
	reader, err := softcard.New("", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{t: t, keys: theKeys(), reader: reader, changed: make(chan struct{}, 1)}
	b.insert()
	if b.verify, err = pin.NewVerify(0x80, pin.EncodingPIV, pivAID); err != nil {
		t.Fatal(err)
	}
	cfg := pin.Config{
		Keys:    b.keys,
		Ask:     b.ask,
		Held:    func(string) bool { return b.held.Load() },
		Free:    b.free,
		Present: func(string) *cardbroker.Card { return b.present.Load() },
		Watch:   func() (<-chan struct{}, func()) { return b.changed, func() {} },
		Record:  b.record,
	}
	if change != nil {
		change(&cfg)
	}
	b.keeper = pin.New(cfg)
	group := run.New(context.Background())
	group.Go("keeper", b.keeper.Run)
	t.Cleanup(func() { group.Stop() })
	return b
}

// insert puts a card in, which is another one than before for all that can be told.
func (b *bed) insert() {
	b.present.Store(&cardbroker.Card{ATR: []byte("\x3B\x80\x80\x01\x01")})
	b.signal()
}

// signal says that a card may be another.
func (b *bed) signal() {
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

func (b *bed) ask(ctx context.Context, q pin.Question) ([]cardbroker.Secret, error) {
	b.asked.Store(&q)
	if b.asking != nil {
		select {
		case <-b.asking:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	text := b.answer.Load()
	if text == nil {
		return nil, cardbroker.Errorf(cardbroker.PINCanceled, "he does not want to")
	}
	return []cardbroker.Secret{cardbroker.NewSecret([]byte(*text))}, nil
}

// will says what the user answers.
func (b *bed) will(text string) { b.answer.Store(&text) }

func (b *bed) record(e cardbroker.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, e)
}

// names returns the names of what was recorded since the last call.
func (b *bed) names() (names []cardbroker.EventName) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.events {
		names = append(names, e.Name)
	}
	b.events = nil
	return names
}

// wish is one of a page for the PIN of the card; text is the field in JSON, "" for none.
func (b *bed) wish(origin cardbroker.Origin, text string) pin.Wish {
	b.t.Helper()
	w := pin.Wish{
		Reader: softcard.Name, ID: id, Origin: origin, Use: b.verify.Use(), Shape: b.verify.Shape(),
		Open: func(ctx context.Context) (pin.Target, cardbroker.Card, error) {
			connected, err := b.reader.Connect(softcard.Name, cardbroker.ShareShared)
			if err != nil {
				return nil, cardbroker.Card{}, err
			}
			c := &card{Card: connected, sent: &b.sent, pad: b.pad}
			if b.counted != nil {
				b.counted(c)
			}
			target, err := pin.OnCard(ctx, c, b.verify)
			present := b.present.Load()
			if present == nil {
				present = new(cardbroker.Card)
			}
			return target, *present, err
		},
		Still: func() error { return nil },
	}
	if text != "" {
		if err := w.PIN.UnmarshalJSON([]byte(`"` + text + `"`)); err != nil {
			b.t.Fatal(err)
		}
	}
	return w
}

// enter has a PIN compared that a page encrypts as existing clients do; "" for none.
func (b *bed) enter(origin cardbroker.Origin, text string) error {
	b.t.Helper()
	if text != "" {
		text = b.pkcs1(text)
	}
	return b.keeper.Enter(b.t.Context(), b.wish(origin, text))
}

func (b *bed) pkcs1(text string) string {
	b.t.Helper()
	public, err := b.keys.Public()
	if err != nil {
		b.t.Fatal(err)
	}
	blob, err := sealed.PKCS1(public.PEM, []byte(text))
	if err != nil {
		b.t.Fatal(err)
	}
	return blob
}

// key returns the nth public key: 0 is P-256, 1 RSA.
func (b *bed) key(n int) api.DeviceJWK {
	b.t.Helper()
	public, err := b.keys.Public()
	if err != nil {
		b.t.Fatal(err)
	}
	return public.Keys[n]
}

// nonce returns a challenge of the page.
func (b *bed) nonce(origin cardbroker.Origin) string {
	b.t.Helper()
	c, err := b.keeper.Challenge(b.t.Context(), origin)
	if err != nil {
		b.t.Fatal(err)
	}
	return c.Nonce
}

// free is what the agent says of a reader.
func (b *bed) free(string) error {
	if b.held.Load() {
		return cardbroker.Errorf(cardbroker.ReaderBusy, "a back end holds the reader for itself")
	}
	return nil
}

// left asks the card how often its PIN may be wrong; 0: it is blocked.
func (b *bed) left() int {
	b.t.Helper()
	connected, err := b.reader.Connect(softcard.Name, cardbroker.ShareShared)
	if err != nil {
		b.t.Fatal(err)
	}
	target, err := pin.OnCard(b.t.Context(), &card{Card: connected, sent: new(atomic.Int64)}, b.verify)
	if err != nil {
		b.t.Fatal(err)
	}
	defer target.Close()
	left, known, err := target.Tries(b.t.Context())
	if err != nil || !known {
		b.t.Fatalf("Tries = %d, %v, %v", left, known, err)
	}
	return left
}

// card is a connection to the software card, as the sandbox serves it.
type card struct {
	sandbox.Card
	sent   *atomic.Int64 // VERIFY commands with data
	pad    func() ([]byte, apdu.StatusWord)
	before func(command []byte)   // is told of each command
	after  func(answer, c []byte) // may change what the card says
}

func (c *card) Close(d cardbroker.Disposition) error { return c.Card.Disconnect(d) }

// Control is a pin pad, PC/SC Part 10, if the reader has one.
func (c *card) Control(ctx context.Context, dst []byte, code uint32, input []byte) ([]byte, error) {
	switch {
	case c.pad == nil:
		return dst, cardbroker.Errorf(cardbroker.Unsupported, "the reader has no such function")
	case code == pinpad.GetFeatureRequest:
		return pinpad.PadFeatures().Append(dst), nil
	}
	entry, err := pinpad.ParseVerify(input)
	if err != nil {
		return dst, err
	}
	entered, sw := c.pad()
	if sw != 0 {
		return binary.BigEndian.AppendUint16(dst, uint16(sw)), nil
	}
	answer, _, err := c.Transmit(ctx, dst, entry.Command(entered, nil))
	return answer, err
}

func (c *card) Transmit(ctx context.Context, dst, command []byte) ([]byte, time.Duration, error) {
	if command[1] == 0x20 && len(command) > 4 {
		c.sent.Add(1)
	}
	if c.before != nil {
		c.before(command)
	}
	answer, err := c.Card.Transmit(dst, command)
	if ctx.Err() != nil { // the card has had the command, but nobody waits for its answer
		return dst, 0, ctx.Err()
	}
	if c.after != nil && err == nil {
		c.after(answer, command)
	}
	return answer, 0, err
}

// reason returns the reason and rule of an error.
func reason(err error) string {
	text := string(cardbroker.ReasonOf(err))
	if rule := cardbroker.RuleOf(err); rule != "" {
		text += " " + string(rule)
	}
	return text
}

// want fails unless the error is so.
func want(t testing.TB, what string, err error, reasonAndRule string) {
	t.Helper()
	if got := reason(err); got != reasonAndRule {
		t.Errorf("%s = %v, want %q", what, err, reasonAndRule)
	}
}

func wantNames(t testing.TB, got []cardbroker.EventName, names ...cardbroker.EventName) {
	t.Helper()
	if !slices.Equal(got, names) {
		t.Errorf("recorded %q, want %q", got, names)
	}
}
