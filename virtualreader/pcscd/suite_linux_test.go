// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package pcscd_test

import (
	"log/slog"
	"testing"

	"github.com/cardbroker/cardbroker/sandbox"
	"github.com/cardbroker/cardbroker/sandbox/pcsc"
	"github.com/cardbroker/cardbroker/sandbox/sandboxtest"
	"github.com/cardbroker/cardbroker/sandbox/softcard"
	"github.com/cardbroker/cardbroker/virtualreader/pcscd"
)

// TestSuite is what every source of readers does, by way of Debian's library and the server. It is the one test that has
// that library in this process: the library reads the socket's path once.
func TestSuite(t *testing.T) {
	source := softReader(t)
	socket := serve(t, pcscd.Config{Source: source})
	t.Setenv("PCSCLITE_CSOCK_NAME", socket)
	p := enter(t, socket)
	hand := &sandboxtest.Hand{
		Pull: func(t *testing.T) {
			source.takeOut()
			p.awaitCard(softcard.Name, false)
		},
		Insert: func(t *testing.T) {
			source.putIn()
			p.awaitCard(softcard.Name, true)
		},
	}
	readers := pcsc.New(slog.New(slog.NewTextHandler(t.Output(), nil)))
	sandboxtest.Run(t, func(*testing.T) sandbox.Readers { return readers }, hand)
}
