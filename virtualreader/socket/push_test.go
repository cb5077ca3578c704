// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package socket_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

// pushing runs a server that pushes what next returns, and says when a push has ended.
func pushing(t *testing.T, ctx context.Context, changed chan struct{}, next func() []api.ReaderEvent) (url string, ended chan struct{}) {
	t.Helper()
	ended = make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		push, err := socket.UpgradePush(w, r)
		if err != nil {
			api.WriteError(w, err)
			return
		}
		push.Run(ctx, changed, next)
		close(ended)
	}))
	t.Cleanup(s.Close)
	return s.URL, ended
}

func TestPush(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	changed := make(chan struct{}, 1)
	n := 0
	url, ended := pushing(t, ctx, changed, func() []api.ReaderEvent {
		n++
		return []api.ReaderEvent{{Event: api.EventReaderAdded, Reader: cardbroker.ReaderID(rune('0' + n))}}
	})
	ws, _, err := websocket.DefaultDialer.Dial("ws"+url[len("http"):], nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	for _, want := range []cardbroker.ReaderID{"1", "2"} {
		var event api.ReaderEvent
		if err := ws.ReadJSON(&event); err != nil || event.Reader != want {
			t.Fatalf("event = %+v, %v, want reader %s", event, err, want)
		}
		if want == "1" {
			changed <- struct{}{}
		}
	}
	cancel()
	if _, _, err := ws.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseGoingAway) {
		t.Errorf("the end was %v, want going away", err)
	}
	<-ended
}

// TestPushEndsWithItsListener has the other side leave, or speak too much: no goroutine waits for it any more.
func TestPushEndsWithItsListener(t *testing.T) {
	for name, leave := range map[string]func(*websocket.Conn){
		"leaves":          func(ws *websocket.Conn) { ws.Close() },
		"speaks too much": func(ws *websocket.Conn) { ws.WriteMessage(websocket.TextMessage, make([]byte, 4096)) },
	} {
		t.Run(name, func(t *testing.T) {
			url, ended := pushing(t, t.Context(), make(chan struct{}), func() []api.ReaderEvent { return nil })
			ws, _, err := websocket.DefaultDialer.Dial("ws"+url[len("http"):], nil)
			if err != nil {
				t.Fatal(err)
			}
			defer ws.Close()
			leave(ws)
			<-ended
		})
	}
}

func TestPushWantsAWebSocket(t *testing.T) {
	url, _ := pushing(t, t.Context(), nil, nil)
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	if err := api.ReadError(response); cardbroker.ReasonOf(err) != cardbroker.Invalid {
		t.Errorf("a plain GET = %v, want invalid", err)
	}
}
