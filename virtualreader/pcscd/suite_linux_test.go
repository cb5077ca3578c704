// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package pcscd_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/cardbroker/cardbroker/sandbox"
	"github.com/cardbroker/cardbroker/sandbox/pcsc"
	"github.com/cardbroker/cardbroker/sandbox/sandboxtest"
	"github.com/cardbroker/cardbroker/sandbox/softcard"
	"github.com/cardbroker/cardbroker/virtualreader/pcscd"
)

// suiteSocket names the one socket that Debian's library uses in this process: it reads the variable once.
const suiteSocket = "PCSCLITE_CSOCK_NAME"

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "suite")
	if err == nil {
		err = os.Setenv(suiteSocket, filepath.Join(dir, "s"))
	}
	if err != nil {
		panic(err)
	}
	status := m.Run()
	os.RemoveAll(dir)
	os.Exit(status)
}

// TestSuite is what every source of readers does, by way of Debian's library and the server.
func TestSuite(t *testing.T) {
	source := softReader(t)
	socket := os.Getenv(suiteSocket)
	serveAt(t, pcscd.Config{Source: source}, socket)
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
