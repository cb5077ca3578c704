// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package kept

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/cache"
	"github.com/cardbroker/cardbroker/agent/tokens"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/internal/token"
	"github.com/cardbroker/cardbroker/test/bench/sample"
)

// counter counts the commands that a card is sent: a byte each, as pcscbed.Card.Commands gets them.
type counter struct{ atomic.Int64 }

// Write implements io.Writer.
func (c *counter) Write(p []byte) (int, error) {
	c.Add(int64(len(p)))
	return len(p), nil
}

// setting is where the card is.
type setting struct {
	sandbox string // the program cardsandbox
	library string // the module
	socket  string // of the PC/SC service
	reader  string // the card's
	dir     string // is made for the agent's state, and removed
	sent    counter
}

// way is what one way to the list took, round by round.
type way struct {
	took     []float64 // ms
	commands []float64 // to the card
}

// ways are the list from the card, by a process of the module that has to start; the same again, of the same insertion; of the next
// insertion, by the same agent; and by the next agent, whose module's process has to start, too.
type ways struct{ cold, same, again, restarted way }

func (c *setting) round(ctx context.Context, m *ways) (err error) {
	if err := os.Mkdir(c.dir, 0o700); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(c.dir)) }()
	secret, first := cardbroker.RandomSecret(), &cardbroker.Card{ATR: []byte{0x3B, 0}}
	a := c.start(ctx, secret)
	err = errors.Join(a.list(&m.cold, first), a.list(&m.same, first), a.stored(), a.list(&m.again, &cardbroker.Card{ATR: first.ATR}), a.stop())
	if err != nil {
		return err
	}
	a = c.start(ctx, secret)
	return errors.Join(a.list(&m.restarted, &cardbroker.Card{ATR: first.ATR}), a.stop())
}

// agent is as much of one as is needed.
type agent struct {
	*setting
	group   *run.Group
	modules *tokens.Tokens
	cache   *cache.Cache
}

// module is the name of the module.
const module = "opensc"

func (c *setting) start(ctx context.Context, secret cardbroker.Secret) *agent {
	a := &agent{setting: c, group: run.New(ctx)}
	a.modules = tokens.New(tokens.Config{Program: c.sandbox, PCSC: c.socket, Modules: []config.Module{
		{Name: module, Library: c.library, PCSC: true, Read: []string{"/etc/opensc"}},
	}})
	a.cache = cache.New(cache.Config{
		Dir: c.dir, Host: "bench", Secret: secret, Policy: config.Cache{Certificates: config.CacheDisk, Age: time.Hour}, Log: slog.New(slog.DiscardHandler),
	})
	a.group.Go("modules", a.modules.Run)
	a.group.Go("cache", a.cache.Run)
	return a
}

func (a *agent) stop() error { return a.group.Stop() }

// list asks for the certificates of an insertion.
func (a *agent) list(way *way, present *cardbroker.Card) error {
	ctx, sent, began := a.group.Context(), a.sent.Load(), time.Now()
	list, err := a.cache.Certificates(ctx, cache.NewKey(module, a.reader, present), present,
		func(ctx context.Context) (string, error) {
			slot, err := a.slot(ctx)
			if err != nil {
				return "", err
			}
			return slot.Token.Serial, nil
		},
		func(ctx context.Context) ([]token.Certificate, error) {
			slot, err := a.slot(ctx)
			if err != nil {
				return nil, err
			}
			answer, err := a.modules.Do(ctx, module, slot, token.Question{Call: token.CallObjects})
			return answer.Certificates, err
		})
	way.took = append(way.took, sample.Millis(time.Since(began)))
	way.commands = append(way.commands, float64(a.sent.Load()-sent))
	if err == nil && len(list) == 0 {
		err = errors.New("the card has no certificates")
	}
	return err
}

// slot finds the card's slot, with what its token says.
func (a *agent) slot(ctx context.Context) (token.Slot, error) {
	slots, err := a.modules.Slots(ctx, module, true)
	if err != nil {
		return token.Slot{}, err
	}
	for _, slot := range slots {
		if slot.Token != nil && strings.HasPrefix(slot.Description, a.reader) {
			return slot, nil
		}
	}
	return token.Slot{}, fmt.Errorf("no slot of %q among %+v", a.reader, slots)
}

// stored waits until the list is on disk, which nobody who asks waits for.
func (a *agent) stored() error {
	limit := time.After(10 * time.Second)
	for a.cache.Status().Files == 0 {
		select {
		case <-time.After(time.Millisecond):
		case <-limit:
			return errors.New("the list is not stored")
		}
	}
	return nil
}
