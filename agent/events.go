// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/cardbroker/cardbroker/agent/readers"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

// pushTimeout is how long a subscriber may take for one event.
const pushTimeout = 10 * time.Second

// events pushes the readers that are there, then every change: over a WebSocket where one is asked for, else as
// server-sent events. A subscriber keeps the sandbox running.
func (a *Agent) events(w http.ResponseWriter, r *http.Request) error {
	wanted, err := readers.ParseFilter(r.URL.Query())
	if err != nil {
		return err
	}
	if _, err := a.cards.Readers(r.Context()); err != nil {
		return err
	}
	if err := httpserver.StillThere(r.Context()); err != nil {
		return err
	}
	of, pushed := r.Context(), overSocket(r)
	if pushed {
		of = a.tunnels.Context() // what is upgraded outlives its request
	}
	inside, leave, err := a.present.uses.Enter(of)
	if err != nil {
		return err
	}
	changed, unwatch := a.cards.Watch()
	stop := func() { unwatch(); leave() }
	if !pushed {
		defer stop()
		return serveSSE(w, r.WithContext(inside), changed, a.readers.Changes(inside, wanted))
	}
	push, err := socket.UpgradePush(w, r)
	if push == nil {
		stop()
		return err
	}
	origin, caller := originOf(r), httpserver.CallerOf(r.Context())
	a.tunnels.Go("events", func(context.Context) error {
		defer stop()
		ctx, left := httpserver.Outlive(inside, r)
		defer left()
		if err := a.pageShows(ctx, origin, push); err != nil {
			a.tellRefused(httpserver.Refusal{Caller: caller, Err: err})
			push.Refuse(err)
			return nil
		}
		push.Run(ctx, changed, a.readers.Changes(ctx, wanted))
		return nil
	})
	return nil
}

// serveSSE writes events as text/event-stream (WHATWG HTML §9.2) until the subscriber or the agent leaves.
func serveSSE(w http.ResponseWriter, r *http.Request, changed <-chan struct{}, next func() []api.ReaderEvent) error {
	control := http.NewResponseController(w)
	control.SetReadDeadline(time.Time{}) // the request is read; a subscriber says no more
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Connection", "close") // with the stream
	for {
		control.SetWriteDeadline(time.Now().Add(pushTimeout))
		for _, event := range next() {
			text, err := json.Marshal(event)
			if err != nil {
				return nil
			}
			fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event.Event, text)
		}
		if control.Flush() != nil {
			return nil
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return nil
		}
	}
}
