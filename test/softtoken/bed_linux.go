// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package softtoken

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/devicekey"
	"github.com/cardbroker/cardbroker/agent/pin"
	"github.com/cardbroker/cardbroker/agent/pki"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/peer"
	"github.com/cardbroker/cardbroker/internal/run"
)

// Config is what a bed is made of.
type Config struct {
	Policy  config.PINPolicy
	Tokens  pki.Tokens      // nil: a [Token], and modules of its own
	Modules []config.Module // of Tokens
	Cache   pki.Cache       // nil: there is none
	Reader  string          // in which there is a card; empty: [Reader]

	Excludes bool // policy excludes readers

	Process pki.Process // of module soft, which runs
}

// Bed serves the routes of agent/pki. Of a [Token] it has three modules: "card" has it as a card in [Reader], "soft" as one that needs no
// reader, and "few" allows RSASSA-PKCS1-v1_5 with SHA-256 alone.
type Bed struct {
	Token   *Token // nil: it is somebody else's
	Address string // where it listens
	Keys    *devicekey.Keys
	Secret  cardbroker.Secret

	// Ask is what the user answers; nil: he does not want to.
	Ask atomic.Pointer[func(pin.Question) []string]
	// Busy is why a back end has the reader for itself; nil: none has.
	Busy atomic.Pointer[error]

	reader  string
	Lent    atomic.Int64 // 1 while the reader is lent
	present atomic.Pointer[cardbroker.Card]
	changed chan struct{}
	group   *run.Group

	mu     sync.Mutex
	events []cardbroker.Event
}

func (c Config) process(module string) pki.Process {
	if module != "soft" {
		return pki.Process{}
	}
	c.Process.Runs = true
	return c.Process
}

// Start runs a bed until [Bed.Stop].
func Start(ctx context.Context, cfg Config) (*Bed, error) {
	b := &Bed{reader: cmp.Or(cfg.Reader, Reader), Keys: theKeys(), Secret: cardbroker.RandomSecret(), changed: make(chan struct{}, 1)}
	b.Insert()
	if cfg.Tokens == nil {
		b.Token = New()
		cfg.Tokens, cfg.Modules = b.Token, []config.Module{
			{Name: "card", Title: "Cards", PCSC: true, ATRs: []string{"3b80*"}},
			{Name: "few", Title: "Few mechanisms", Mechanisms: []string{"CKM_SHA256_RSA_PKCS"}},
			{Name: "soft", Title: "Software"},
		}
	}
	keeper := pin.New(pin.Config{
		Keys: b.Keys, Policy: cfg.Policy, Ask: b.ask,
		Held:    func(string) bool { return false },
		Free:    b.free,
		Present: func(string) *cardbroker.Card { return b.present.Load() },
		Watch:   func() (<-chan struct{}, func()) { return b.changed, func() {} },
		Record:  b.record,
	})
	tokens := pki.New(pki.Config{
		Modules: func() []config.Module { return cfg.Modules },
		Tokens:  cfg.Tokens, Process: cfg.process, Excludes: cfg.Excludes,
		Readers: func(context.Context) ([]cardbroker.Reader, error) {
			return []cardbroker.Reader{{Name: b.reader, Card: b.present.Load()}, {Name: "Empty Reader 01"}}, nil
		},
		Free:    b.free,
		Present: func(reader string) *cardbroker.Card { return b.present.Load() },
		Lend: func(context.Context, string) (pki.Loan, error) {
			if !b.Lent.CompareAndSwap(0, 1) {
				return nil, cardbroker.Errorf(cardbroker.ReaderBusy, "it is lent")
			}
			return loan{b}, nil
		},
		Secret: b.Secret, Cache: cfg.Cache, PINs: keeper, Record: b.record,
	})
	listener, err := httpserver.Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := httpserver.New(httpserver.Config{
		Routes:    append(tokens.Routes(), httpserver.Route{Method: "GET", Path: "/device-key", Access: httpserver.Public, Handle: b.deviceKey}),
		Authorize: func(*http.Request, httpserver.Access) error { return nil },
		Consented: func(cardbroker.Origin) bool { return true },
		Log:       slog.New(slog.DiscardHandler),
	})
	b.Address = listener.Addr().String()
	b.group = run.New(context.WithoutCancel(ctx))
	b.group.Go("pins", keeper.Run)
	b.group.Go("serve", func(ctx context.Context) error {
		return server.Serve(ctx, httpserver.Listener{Listener: listener, Kind: httpserver.Loopback{Kernel: peer.NewKernel()}})
	})
	return b, nil
}

func (b *Bed) free(string) error {
	if busy := b.Busy.Load(); busy != nil {
		return *busy
	}
	return nil
}

func (b *Bed) deviceKey(w http.ResponseWriter, _ *http.Request) error {
	key, err := b.Keys.Public()
	if err != nil {
		return err
	}
	return httpserver.Data(w, key.PEM)
}

// loan ends with Close, once.
type loan struct{ bed *Bed }

// Close implements [pki.Loan].
func (l loan) Close() error {
	if l.bed.Lent.Add(-1) != 0 {
		panic("BUG: a loan is closed twice")
	}
	return nil
}

// Stop ends the bed.
func (b *Bed) Stop() error { return b.group.Stop() }

// Reader returns the id of the reader that the token is in, as pages know it.
func (b *Bed) Reader() cardbroker.ReaderID { return cardbroker.NewReaderID(b.Secret, b.reader) }

// Empty returns the id of a reader without a slot.
func (b *Bed) Empty() cardbroker.ReaderID { return cardbroker.NewReaderID(b.Secret, "Empty Reader 01") }

// Insert puts a card in, which is another one than before for all that can be told.
func (b *Bed) Insert() { b.put(&cardbroker.Card{ATR: []byte("\x3B\x80\x80\x01\x01")}) }

// Remove takes it out.
func (b *Bed) Remove() { b.put(nil) }

func (b *Bed) put(c *cardbroker.Card) {
	b.present.Store(c)
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

// Events returns what was recorded since the last call.
func (b *Bed) Events() []cardbroker.Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	events := b.events
	b.events = nil
	return events
}

func (b *Bed) record(e cardbroker.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, e)
}

func (b *Bed) ask(_ context.Context, q pin.Question) (said []cardbroker.Secret, err error) {
	answer := b.Ask.Load()
	if answer == nil {
		return nil, cardbroker.Errorf(cardbroker.PINCanceled, "he does not want to")
	}
	for _, text := range (*answer)(q) {
		said = append(said, cardbroker.NewSecret([]byte(text)))
	}
	return said, nil
}

// theKeys are made once: it takes a while.
var theKeys = sync.OnceValue(func() *devicekey.Keys {
	keys := devicekey.New(nil)
	if err := keys.Make(context.Background()); err != nil {
		panic("BUG: " + err.Error())
	}
	return keys
})
