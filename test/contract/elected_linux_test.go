// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package contract_test

import (
	"fmt"
	"log/slog"
	"os"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/broker/elected"
	"github.com/cardbroker/cardbroker/broker/registry"
	"github.com/cardbroker/cardbroker/internal/epoch"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/test/openapi"
)

// newElected starts an elected leader; it ends with the test.
func newElected(t *testing.T) (leader asked, number uint64) {
	t.Helper()
	checker, err := openapi.Load()
	h := &host{t: t, dir: t.TempDir(), checker: checker}
	h.check(err)
	listeners, err := httpserver.ListenLoopback(t.Context(), 0)
	h.check(err)
	number = epoch.Now()
	l, err := elected.New(t.Context(), elected.Config{
		Listen: listeners, Registry: registry.Config{Ports: cardbroker.Ports{19150}, Epoch: number}, HostName: "host.example", Version: "test",
		Log: slog.New(slog.DiscardHandler), PerSecond: slowPace,
	})
	h.check(err)
	h.run(l.Run)
	return asked{h, "broker", listeners[0].Addr().String()}, number
}

// TestElected has an elected leader asked what the document says of the broker: it answers as that does, and to other users that
// it does not serve them. [asked.ask] holds each answer against the document.
func TestElected(t *testing.T) {
	leader, number := newElected(t)
	var info api.Info
	leader.ask("GET", "/info", header("Origin", "https://page.example")).want(200, "").into(&info)
	if info.Cardbroker.Mode != api.ModeElected || info.Cardbroker.Epoch != number || info.User.HostName != "host.example" {
		t.Errorf("/info is %+v", info)
	}
	leader.ask("GET", "/healthz").want(200, "")
	leader.ask("GET", "/openapi.yaml").want(200, "")
	leader.ask("GET", "/docs").want(200, "")
	leader.ask("GET", "/v4/readers").want(404, cardbroker.NotFound)
	for _, path := range []string{"/cb/v1/agent", "/device-key", "/v3/agents"} {
		leader.ask("GET", path).want(412, cardbroker.NoAgent)
	}
	leader.host.consentBefore(leader, 412, cardbroker.NoAgent)
	for _, route := range leader.host.routes("broker") {
		a := leader.patiently(route.method, route.path, header("Origin", "null")).want(403, cardbroker.OriginDenied)
		if got := a.header.Get(api.EpochHeader); got != fmt.Sprint(number) {
			t.Errorf("%s %s has the epoch %q, want %d", route.method, route.path, got, number)
		}
		if os.Geteuid() == 0 {
			leader.askAsStranger(route.method, route.path).want(403, cardbroker.CallerRefused)
			leader.askAsStranger(route.method, route.path, header("Origin", "https://page.example"), header("X-CSRF-Token", "1")).want(403, cardbroker.CallerRefused)
		}
	}
	leader.host.rateSeen(leader)
}
