// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package pki is the REST API of PKCS#11 tokens: certificates, signatures and PINs of the modules that machine policy names,
// in the form of existing Trust1Connector clients (/v3/modules/{module}/apps/token…) and in our own (/cb/v1/modules…). A page
// sees modules by name; it never chooses a file.
//
// It has no loop, and no state but what the last signature was found by. That no back end finds a PIN verified that was entered here is for [Tokens] to see to, which has the
// reader's turn for each question; a PIN is given to the very token that it was asked for, within one turn ([Config].Lend). PINs go through a [pin.Keeper], which a [job] is the target of: login, use and logout are one
// question to the module's process.
package pki

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/cache"
	"github.com/cardbroker/cardbroker/agent/pin"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/token"
)

// Tokens asks the processes of modules.
type Tokens interface {
	Library(ctx context.Context, module string) (token.Library, error)
	// Slots lists slots; with present, those with a token.
	Slots(ctx context.Context, module string, present bool) ([]token.Slot, error)
	// Do asks a slot of Slots. It owns the secrets, and overwrites them.
	Do(ctx context.Context, module string, slot token.Slot, q token.Question, secrets ...cardbroker.Secret) (token.Answer, error)
}

// Process is how the process of a module fares.
type Process struct {
	Runs  bool
	Mute  time.Duration // for so long it has owed somebody an answer; 0: it owes none
	Ended string        // how the last one ended: it may name files, and what the module has said; empty: none did
}

// Loan is a reader's turn that the processes of modules have.
type Loan interface {
	// Close ends it and resets the card.
	Close() error
}

// Cache keeps certificates; a cache.Cache does.
type Cache interface {
	Certificates(ctx context.Context, key cache.Key, present *cardbroker.Card, serial func(context.Context) (string, error),
		read func(context.Context) ([]token.Certificate, error)) ([]token.Certificate, error)
	// Peek returns what is in memory of this insertion of a card, and asks nobody.
	Peek(key cache.Key, present *cardbroker.Card) ([]token.Certificate, bool)
}

// Config is what the routes are made of.
type Config struct {
	Modules func() []config.Module // of machine policy
	Tokens  Tokens
	Process func(module string) Process // how that of a module fares; nil: not known

	Excludes bool // machine policy excludes readers
	Readers  func(ctx context.Context) ([]cardbroker.Reader, error)
	Present  func(reader string) *cardbroker.Card // another pointer: another card, or put in anew; nil: none, or not known

	// Away says why tokens are not used at the moment: Forbidden. nil: they always are.
	Away func() error
	// Free says that a back end has a reader for itself: ReaderBusy. nil: nobody else is there.
	Free func(reader string) error
	// Lend has back ends and other programs make way at a reader while a token is found and given a PIN; nil: nobody else is there.
	Lend func(ctx context.Context, reader string) (Loan, error)

	Cache Cache // of the certificates of cards; nil: they are read each time

	Secret cardbroker.Secret // that ids are made from
	PINs   *pin.Keeper
	Record func(cardbroker.Event) // for the audit log; must not block
}

// PKI serves the routes. Make it with [New]; any number of goroutines may use it.
type PKI struct {
	cfg  Config
	soft *cardbroker.Card // stands for every token that is no card in a PC/SC reader

	signable atomic.Pointer[signable] // nil: nothing was read, or not for the last ones who signed
}

// New returns what serves [PKI.Routes].
func New(cfg Config) *PKI {
	return &PKI{cfg: cfg, soft: &cardbroker.Card{}}
}

// module returns the module that a path names.
func (p *PKI) module(name string) (config.Module, error) {
	for _, m := range p.cfg.Modules() {
		if m.Name == name {
			return m, nil
		}
	}
	return config.Module{}, cardbroker.Errorf(cardbroker.ObjectUnknown, "machine policy names no module %.32q", name)
}
