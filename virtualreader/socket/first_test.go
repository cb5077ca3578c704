// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package socket_test

import (
	"cmp"
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
	const short, most = 200 * time.Millisecond, 4 * time.Second
	for _, test := range []struct {
		name   string
		say    func(c *websocket.Conn, stop func())
		good   bool
		within time.Duration // 0: it has all the time that it wants
	}{
		{"a text", func(c *websocket.Conn, _ func()) { c.WriteMessage(websocket.TextMessage, []byte("me")) }, true, 0},
		{"a ping before", func(c *websocket.Conn, _ func()) {
			c.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second))
			c.WriteMessage(websocket.TextMessage, []byte("me"))
		}, true, 0},
		{"as long as a header may be", func(c *websocket.Conn, _ func()) {
			c.WriteMessage(websocket.TextMessage, []byte(strings.Repeat("x", 16<<10)))
		}, true, 0},
		{"nothing", func(*websocket.Conn, func()) {}, false, short},
		{"half of it", func(c *websocket.Conn, _ func()) {
			w, _ := c.NextWriter(websocket.TextMessage)
			w.Write([]byte(strings.Repeat("x", 8<<10)))
		}, false, short},
		{"pings for ever", func(c *websocket.Conn, _ func()) {
			for c.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second)) == nil {
			}
		}, false, short},
		{"bytes", func(c *websocket.Conn, _ func()) { c.WriteMessage(websocket.BinaryMessage, []byte("me")) }, false, 0},
		{"too much", func(c *websocket.Conn, _ func()) {
			c.WriteMessage(websocket.TextMessage, []byte(strings.Repeat("x", 64<<10)))
		}, false, 0},
		{"the end of it", func(c *websocket.Conn, _ func()) { c.Close() }, false, 0},
		{"the agent ends", func(_ *websocket.Conn, stop func()) { stop() }, false, 0},
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
				_, err = push.First(ctx, cmp.Or(test.within, time.Minute))
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
			if err := <-said; (err == nil) != test.good || time.Since(begun) > most {
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
