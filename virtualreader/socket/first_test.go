// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package socket_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

// TestFirst: a page says who it is in its first message, within a time and a length, or gets nothing but why.
func TestFirst(t *testing.T) {
	const within = 200 * time.Millisecond
	for _, test := range []struct {
		name string
		say  func(c *websocket.Conn, stop func())
		good bool
	}{
		{"a text", func(c *websocket.Conn, _ func()) { c.WriteMessage(websocket.TextMessage, []byte("me")) }, true},
		{"a ping before", func(c *websocket.Conn, _ func()) {
			c.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second))
			c.WriteMessage(websocket.TextMessage, []byte("me"))
		}, true},
		{"as long as a header may be", func(c *websocket.Conn, _ func()) {
			c.WriteMessage(websocket.TextMessage, []byte(strings.Repeat("x", 16<<10)))
		}, true},
		{"nothing", func(*websocket.Conn, func()) {}, false},
		{"half of it", func(c *websocket.Conn, _ func()) {
			w, _ := c.NextWriter(websocket.TextMessage)
			w.Write([]byte(strings.Repeat("x", 8<<10)))
		}, false},
		{"pings for ever", func(c *websocket.Conn, _ func()) {
			for c.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second)) == nil {
			}
		}, false},
		{"bytes", func(c *websocket.Conn, _ func()) { c.WriteMessage(websocket.BinaryMessage, []byte("me")) }, false},
		{"too much", func(c *websocket.Conn, _ func()) {
			c.WriteMessage(websocket.TextMessage, []byte(strings.Repeat("x", 64<<10)))
		}, false},
		{"the end of it", func(c *websocket.Conn, _ func()) { c.Close() }, false},
		{"the agent ends", func(_ *websocket.Conn, stop func()) { stop() }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			begun := time.Now()
			said := make(chan error, 1)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				push, err := socket.UpgradePush(w, r)
				if push == nil {
					said <- err
					return
				}
				_, err = push.First(ctx, within)
				push.Refuse(cardbroker.Refusef(cardbroker.Unauthenticated, cardbroker.RulePageJWT, "who?"))
				said <- err
			}))
			defer server.Close()
			c, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(server.URL, "http"), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			test.say(c, stop)
			if err := <-said; (err == nil) != test.good || time.Since(begun) > 20*within {
				t.Errorf("First = %v after %v, want good: %v", err, time.Since(begun), test.good)
			}
			if test.good {
				var why api.ErrorBody
				if err := c.ReadJSON(&why); err != nil || why.Rule != cardbroker.RulePageJWT {
					t.Errorf("refused with %+v, %v", why, err)
				}
				if _, _, err := c.ReadMessage(); !websocket.IsCloseError(err, websocket.ClosePolicyViolation) {
					t.Errorf("the end is %v, want 1008", err)
				}
			}
		})
	}
}
