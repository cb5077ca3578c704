// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package remoteloading_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/cards"
	"github.com/cardbroker/cardbroker/agent/remoteloading"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/peer"
	"github.com/cardbroker/cardbroker/internal/pinpad"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/sandbox"
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
)

// TestMain makes the test program its own sandbox, too: one with a plain reader, one with a pin pad and an empty one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "fake" {
		streams, err := sandbox.Inherit()
		if err == nil {
			err = sandbox.Serve(context.Background(), streams, &fakeReaders{emitted: make(chan sandbox.Event)}, slog.New(slog.DiscardHandler))
		}
		if err != nil {
			syscall.Exit(3)
		}
		syscall.Exit(0)
	}
	os.Exit(m.Run())
}

// The readers; their ids are what they are called.
const plain, padded, empty = "plain", "padded", "empty"

// What the card does with a command is its INS; it has a PIN, 1234.
const (
	insEcho   = 0x10 // answers the data
	insCount  = 0x12 // answers how many commands it has had since it was reset
	insMore   = 0x14 // 6102, which GET RESPONSE fetches
	insHang   = 0x16 // never answers; the reader "empty" gets a card so that others see it
	insExit   = 0x18 // the sandbox ends
	insRemove = 0x1A // the card is taken out
	insReset  = 0x1C // somebody has reset the card
	insVerify = 0x20
)

type fakeReaders struct{ emitted chan sandbox.Event }

func (f *fakeReaders) Watch(ctx context.Context, emit func(sandbox.Event)) error {
	emit(sandbox.Event{Reader: plain, Present: true, Card: fakeCard()})
	emit(sandbox.Event{Reader: padded, Present: true, PINPad: true, Card: fakeCard()})
	emit(sandbox.Event{Reader: empty, Present: true})
	emit(sandbox.Event{})
	for {
		select {
		case e := <-f.emitted:
			emit(e)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func fakeCard() *cardbroker.Card {
	return &cardbroker.Card{ATR: []byte{0x3B, 0xAB}, Protocol: cardbroker.ProtocolT1}
}

func (f *fakeReaders) Connect(name string, _ cardbroker.ShareMode) (sandbox.Card, error) {
	if name == empty {
		return nil, cardbroker.Errorf(cardbroker.CardAbsent, "no card")
	}
	return &fakeConnection{readers: f, name: name}, nil
}

type fakeConnection struct {
	readers *fakeReaders
	name    string
	seen    byte
}

func (c *fakeConnection) Info() cardbroker.Card                   { return *fakeCard() }
func (c *fakeConnection) Begin() error                            { return nil }
func (c *fakeConnection) End(cardbroker.Disposition) error        { return nil }
func (c *fakeConnection) Disconnect(cardbroker.Disposition) error { return nil }
func (c *fakeConnection) Attribute(uint32) ([]byte, error) {
	return nil, cardbroker.Errorf(cardbroker.Unsupported, "none")
}

// Control is the pin pad's, whose user enters 1234.
func (c *fakeConnection) Control(dst []byte, code uint32, input []byte) ([]byte, error) {
	switch {
	case c.name != padded:
	case code == pinpad.GetFeatureRequest:
		return pinpad.Features{{Tag: pinpad.VerifyPINDirect, Code: 0x42000777}, {Tag: pinpad.TLVProperties, Code: 0x42000778}}.Append(dst), nil
	case code == 0x42000777:
		return c.Transmit(dst, []byte("\x00\x20\x00\x80\x041234"))
	case code == 0x42000778:
		return append(dst, 0x0B, 2, 0x34, 0x12), nil
	}
	return dst, cardbroker.Errorf(cardbroker.Unsupported, "none")
}

func (c *fakeConnection) Transmit(dst, command []byte) ([]byte, error) {
	c.seen++
	switch command[1] {
	case insEcho:
		dst = append(dst, command[min(5, len(command)):]...)
	case insCount:
		dst = append(dst, c.seen)
	case insMore:
		return append(dst, 0x61, 0x02), nil
	case 0xC0:
		dst = append(dst, 0xBE, 0xEF)
	case insHang:
		c.readers.emitted <- sandbox.Event{Reader: empty, Present: true, Card: fakeCard()}
		select {}
	case insExit:
		syscall.Exit(7)
	case insRemove:
		c.readers.emitted <- sandbox.Event{Reader: c.name, Present: true}
	case insReset:
		return dst, cardbroker.Errorf(cardbroker.CardReset, "somebody has reset the card")
	case insVerify:
		if string(command[5:9]) != "1234" {
			return append(dst, 0x63, 0xC2), nil
		}
	}
	return append(dst, 0x90, 0x00), nil
}

// bed is a loader behind a server, with the fake sandbox.
type bed struct {
	t       testing.TB
	loader  *remoteloading.Loader
	box     *cards.Sandbox
	address string
	group   *run.Group

	turns     atomic.Int64 // that were asked for
	impatient atomic.Bool

	mu       sync.Mutex
	recorded []cardbroker.Event
	away     error                  // why nobody may use cards
	asked    func() (string, error) // what the user enters
	asks     []bool                 // of Asking: whether he did
}

const shop, forum = "https://shop.example", "https://forum.example"

func newBed(t testing.TB, change func(*bed, *remoteloading.Config)) *bed {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{t: t, group: run.New(context.Background())}
	b.box = cards.New(cards.Config{Program: self, Args: []string{"fake"}, CallLimit: 30 * time.Second})
	cfg := remoteloading.Config{
		Find: b.find, Free: func(string) error { return nil }, Present: b.present, Watch: b.box.Watch, Enter: b.enter, Record: b.record,
		Turn: func(ctx context.Context, reader string) (remoteloading.Card, error) {
			b.turns.Add(1)
			card, err := b.box.Turn(ctx, reader)
			if err != nil {
				return nil, err
			}
			return card, nil
		},
		Asking: func(context.Context, string, cardbroker.Origin) (func(bool), error) {
			return func(entered bool) { b.mu.Lock(); defer b.mu.Unlock(); b.asks = append(b.asks, entered) }, nil
		},
	}
	if change != nil {
		change(b, &cfg)
	}
	b.loader = remoteloading.New(cfg)
	listener, err := httpserver.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.address = "http://" + listener.Addr().String()
	kernel := peer.NewKernel()
	server := httpserver.New(httpserver.Config{
		Routes: b.loader.Routes(), Authorize: func(*http.Request, httpserver.Access) error { return nil },
		Consented: func(cardbroker.Origin) bool { return true }, Log: slog.New(slog.DiscardHandler),
	})
	b.group.Go("cards", b.box.Run)
	b.group.Go("loader", b.loader.Run)
	b.group.Go("server", func(ctx context.Context) error {
		return server.Serve(ctx, httpserver.Listener{Listener: listener, Kind: httpserver.Loopback{Kernel: kernel}})
	})
	t.Cleanup(func() {
		if err := b.group.Stop(); err != nil {
			t.Error(err)
		}
		kernel.Close()
	})
	return b
}

func (b *bed) find(ctx context.Context, id cardbroker.ReaderID) (cardbroker.Reader, error) {
	readers, err := b.box.Readers(ctx)
	for _, r := range readers {
		if r.Name == string(id) {
			return r, nil
		}
	}
	if err == nil {
		err = cardbroker.Errorf(cardbroker.ReaderUnknown, "no such reader")
	}
	return cardbroker.Reader{}, err
}

func (b *bed) present(name string) *cardbroker.Card {
	for _, r := range b.box.Snapshot() {
		if r.Name == name {
			return r.Card
		}
	}
	return nil
}

func (b *bed) enter(ctx context.Context) (context.Context, func(), error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return ctx, func() {}, b.away
}

func (b *bed) record(e cardbroker.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.recorded = append(b.recorded, e)
}

// events returns what was recorded since the last call, a word or two each.
func (b *bed) events() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var said []string
	for _, e := range b.recorded {
		said = append(said, strings.TrimSpace(fmt.Sprintf("%s %s%s %s", e.Name, e.Origin, e.Reason, e.Detail)))
	}
	b.recorded = nil
	return strings.Join(said, "; ")
}

// AskPIN implements [cardend.Asker].
func (b *bed) AskPIN(_ context.Context, q cardend.Question) ([]cardbroker.Secret, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	said, err := b.asked()
	if err != nil {
		return nil, err
	}
	var pins []cardbroker.Secret
	for pin := range strings.SplitSeq(said, " ") {
		pins = append(pins, cardbroker.NewSecret([]byte(pin)))
	}
	return pins, nil
}

// post asks for an action at a reader, and returns the data of the answer, or reason, rule and description of the error.
func (b *bed) post(origin, reader, action, body string) string {
	b.t.Helper()
	return b.postWithin(b.t.Context(), origin, reader, action, body)
}

func (b *bed) postWithin(ctx context.Context, origin, reader, action, body string) string {
	r, err := http.NewRequestWithContext(ctx, "POST", b.address+"/v3/modules/remoteloading/apps/hsm/readers/"+reader+"/"+action, strings.NewReader(body))
	if err != nil {
		return err.Error()
	}
	if origin != "" {
		r.Header.Set("Origin", origin)
		r.Header.Set("X-CSRF-Token", "t1c-js")
		r.Header.Set("Content-Type", "application/json;charset=UTF-8")
	}
	var client http.Client
	defer client.CloseIdleConnections()
	response, err := client.Do(r)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err.Error()
	}
	if response.StatusCode >= 400 {
		var e api.ErrorBody
		json.Unmarshal(text, &e)
		return strings.ReplaceAll(fmt.Sprintf("%s %s: %s", e.Reason, e.Rule, e.Description), " :", ":")
	}
	var answer struct{ Data json.RawMessage }
	json.Unmarshal(text, &answer)
	return string(answer.Data)
}

// until asks until something is so.
func (b *bed) until(so func() bool) {
	b.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-b.t.Context().Done():
			b.t.Fatal("it never came to that")
		}
	}
}

// want compares, where want ends with … only the beginning.
func want(t testing.TB, what, got, want string) {
	t.Helper()
	if start, open := strings.CutSuffix(want, "…"); got != want && !(open && strings.HasPrefix(got, start)) {
		t.Errorf("%s is answered %s, want %s", what, got, want)
	}
}

// open opens a session and returns what follows its body's other fields.
func (b *bed) open(origin, reader string) (session string) {
	b.t.Helper()
	said := b.post(origin, reader, "open-session", "{}")
	if len(said) != 45 || said[0] != '"' {
		b.t.Fatalf("open-session is answered %s", said)
	}
	return `"sessionId":` + said
}

// verifyStructure is PIN_VERIFY_STRUCTURE for a PIN of 4 to 8 ASCII characters, PC/SC Part 10 §2.5.2.
func verifyStructure(command string) string {
	return fmt.Sprintf("0000820000080402FF090400000000%02X000000%s", len(command)/2, command)
}
