// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package sandboxtest_test

import (
	"log/slog"
	"testing"

	"github.com/cardbroker/cardbroker/sandbox"
	"github.com/cardbroker/cardbroker/sandbox/sandboxtest"
	"github.com/cardbroker/cardbroker/sandbox/softcard"
)

func TestSoftwareCard(t *testing.T) {
	sandboxtest.Run(t, func(t *testing.T) sandbox.Readers {
		reader, err := softcard.New("", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return reader
	}, nil)
}
