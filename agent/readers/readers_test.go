// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package readers_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/cards"
	"github.com/cardbroker/cardbroker/agent/catalogue"
	"github.com/cardbroker/cardbroker/agent/readers"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/sandbox"
	"github.com/cardbroker/cardbroker/sandbox/sandboxtest"
)

// TestMain is the sandbox, too: one with a few readers.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "few" {
		os.Exit(few())
	}
	os.Exit(m.Run())
}

func few() int {
	_, _ = sandbox.Serve, sandboxtest.Run
	return 0
}

var _ = []any{context.Background, json.Marshal, slog.New, http.StatusOK, httptest.NewRecorder, url.Parse, strings.Repeat, cardbroker.Invalid, cards.New, catalogue.New, readers.New, api.NewCard, config.Module{}, run.New}
