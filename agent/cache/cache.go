// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package cache keeps the certificates of cards, so that they are read once: over a session's remote reader each command takes
// 50 to 150 ms, and a list of certificates tens of them.
//
// In memory a list is kept for this very insertion of a card, and is answered without touching it. On disk, below the agent's
// state directory, it is kept by module, serial number of the token and ATR: only the serial number is asked then. What is kept is
// what anybody reads from the card without a PIN; never a private object, never what was read behind a PIN. It ends when another
// card shows up in the reader, when we have written to the token ([Cache.Drop]), with its age, and as soon as a certificate of it
// comes into its last 30 days or to its end. All of it is disposable at any time.
//
// The state belongs to one loop ([Cache.Run]), which does no I/O: cards and files are read and written by flights, one for each
// insertion at a time, which all who ask for it share.
package cache

import (
	"cmp"
	"context"
	"encoding/hex"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/loop"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/internal/token"
)

// Config is what a cache is made of.
type Config struct {
	Dir    string // the agent's state directory; files go into a directory of their own below it
	Host   string // names this host, from [HostID]; empty: nothing is kept on disk
	User   cardbroker.UserID
	Secret cardbroker.Secret // the agent's
	Policy config.Cache
	Seen   func([]token.Certificate) // is given each list that was not in memory; must not block; nil: nobody is
	Log    *slog.Logger
}

// Key says whose certificates are wanted: what a module finds in a reader.
type Key struct {
	Module string
	Reader string // name of the PC/SC reader; of a module without: the slot's description
	ATR    string // in hexadecimal; empty for what is no card
}

// place is where cards come and go.
type place struct{ module, reader string }

func (k Key) place() place { return place{k.Module, k.Reader} }

// NewKey returns the key for a card in a reader; card may be nil.
func NewKey(module, reader string, card *cardbroker.Card) Key {
	k := Key{Module: module, Reader: reader}
	if card != nil {
		k.ATR = hex.EncodeToString(card.ATR)
	}
	return k
}

// Cache keeps certificates. Make it with [New]; all methods but Run may be called by anybody while Run runs.
type Cache struct {
	cfg  Config
	loop *loop.Loop[*state]
	view atomic.Pointer[map[place]kept]
	disk *disk // nil: nothing is kept on disk
}

// kept is the list of a card that is, or was, in a reader. It is never changed.
type kept struct {
	card  *cardbroker.Card // this insertion of it; never nil in memory
	list  []token.Certificate
	until time.Time
}

// New returns a cache with nothing in memory. It makes its directory when there is something to keep.
func New(cfg Config) *Cache {
	c := &Cache{cfg: cfg, loop: loop.New[*state]()}
	c.view.Store(&map[place]kept{})
	if cfg.Policy.Certificates == config.CacheDisk && cfg.Host != "" && !cfg.Secret.Empty() {
		c.disk = newDisk(cfg)
	}
	return c
}

// Run owns the state until ctx ends. What is being read then ends with it. Where policy wants nothing on disk, what an earlier
// agent has left there goes. It is called once.
func (c *Cache) Run(ctx context.Context) error {
	if c.disk == nil {
		os.RemoveAll(filepath.Join(c.cfg.Dir, dirName)) // as far as it can be: it is sealed
	}
	st := &state{cache: c, group: run.New(ctx), kept: map[place]kept{}, flights: map[flightKey]*flight{}}
	err := c.loop.Run(ctx, st)
	st.group.Stop()
	return err
}

// Certificates returns what is kept, or what read returns. present identifies this very insertion of the card, as the pointer in
// [cards.Sandbox.Snapshot] does; nil: it is not known, and the token is asked. serial asks the token's serial number, and must not
// be slow; it is asked before and after read, and with an empty one nothing goes to disk. Both are called with a context that
// ends when all who asked for the same have left, perhaps with the functions of another of them. read returns what is to be seen
// without a PIN. The result is not to be changed.
//
// Errors: those of serial and read; CardRemoved (another card was put in meanwhile), Overloaded, Unavailable, and those of ctx.
func (c *Cache) Certificates(ctx context.Context, key Key, present *cardbroker.Card,
	serial func(context.Context) (string, error), read func(context.Context) ([]token.Certificate, error),
) ([]token.Certificate, error) {
	if c.cfg.Policy.Certificates != config.CacheMemory && c.cfg.Policy.Certificates != config.CacheDisk {
		list, err := read(ctx)
		c.seen(list)
		return list, err
	}
	if list, ok := c.Peek(key, present); ok {
		return list, nil
	}
	f, err := c.board(flightKey{key, present}, serial, read)
	if err != nil {
		return nil, err
	}
	select {
	case <-f.done:
		return f.list, f.err
	case <-ctx.Done():
		c.leave(f)
		return nil, ctx.Err()
	}
}

// Peek returns what is kept in memory of this insertion of a card. It waits for nobody, and asks nobody.
func (c *Cache) Peek(key Key, present *cardbroker.Card) ([]token.Certificate, bool) {
	k, ok := (*c.view.Load())[key.place()]
	if !ok || present == nil || k.card != present || !time.Now().Before(k.until) {
		return nil, false
	}
	return k.list, true
}

// Drop forgets what is kept of the card in a reader: its certificates were, or may have been, changed by us. What is being read
// is not kept.
func (c *Cache) Drop(module, reader string) error {
	at := place{module, reader}
	err := c.loop.Must(func(st *state) error {
		st.drop(func(p place) bool { return p == at })
		return nil
	})
	if c.disk != nil {
		c.disk.dropPlace(at, "")
	}
	return err
}

// DropAll forgets everything, and empties the directory.
func (c *Cache) DropAll() error {
	err := c.loop.Must(func(st *state) error {
		st.drop(func(place) bool { return true })
		return nil
	})
	if c.disk != nil {
		c.disk.dropAll()
	}
	return err
}

// Status says how much is kept.
type Status struct {
	Mode   config.CacheMode
	Memory int   // lists, of cards that are or were in a reader
	Files  int   // lists on disk
	Bytes  int64 // that they take
}

// Status counts what is kept. It reads the directory.
func (c *Cache) Status() Status {
	s := Status{Mode: c.cfg.Policy.Certificates, Memory: len(*c.view.Load())}
	if c.disk != nil {
		for _, f := range c.disk.files() {
			s.Files++
			s.Bytes += f.size
		}
	} else if s.Mode == config.CacheDisk {
		s.Mode = config.CacheMemory
	}
	s.Mode = cmp.Or(s.Mode, config.CacheOff)
	return s
}

func (c *Cache) seen(list []token.Certificate) {
	if c.cfg.Seen != nil && len(list) > 0 {
		c.cfg.Seen(list)
	}
}
