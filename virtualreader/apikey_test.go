// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package virtualreader_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/virtualreader"
	"github.com/cardbroker/cardbroker/virtualreader/socket"
)

const apiKey = "cbk1.key-of-alpha"

// watched is what one watch is told before it is ended, and the list as of its beginning.
type watched struct {
	readers []api.RemoteReader
	events  []api.ReaderEvent
}

// exchange is a door that gives tokens for an API key: token-1, token-2 …
type exchange struct {
	*httptest.Server
	seconds int          // life of its tokens
	given   atomic.Int32 // tokens
	lowest  atomic.Int32 // of the tokens that are still good
	readers atomic.Pointer[[]api.RemoteReader]
	watches chan watched
}

func newExchange(t *testing.T, seconds int) *exchange {
	e := &exchange{seconds: seconds, watches: make(chan watched, 8)}
	e.readers.Store(&[]api.RemoteReader{})
	mux := http.NewServeMux()
	mux.HandleFunc("POST /cb/v1/tokens", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+apiKey {
			api.WriteError(w, cardbroker.Refusef(cardbroker.Unauthenticated, cardbroker.RuleToken, "unknown"))
			return
		}
		api.WriteJSON(w, 200, api.Token{Token: fmt.Sprint("token-", e.given.Add(1)), Seconds: e.seconds})
	})
	good := func(r *http.Request) bool {
		var n int32
		fmt.Sscanf(r.Header.Get("Authorization"), "Bearer token-%d", &n)
		return n >= max(1, e.lowest.Load())
	}
	refuse := func(w http.ResponseWriter) {
		api.WriteError(w, cardbroker.Refusef(cardbroker.Unauthenticated, cardbroker.RuleToken, "unknown"))
	}
	mux.HandleFunc("GET /cb/v1/readers", func(w http.ResponseWriter, r *http.Request) {
		if !good(r) {
			refuse(w)
			return
		}
		api.WriteJSON(w, 200, api.RemoteReaders{Readers: *e.readers.Load()})
	})
	maker := socket.NewJSONMaker("")
	mux.HandleFunc("GET /cb/v1/readers/events", func(w http.ResponseWriter, r *http.Request) {
		if !good(r) {
			refuse(w)
			return
		}
		watch := <-e.watches
		e.readers.Store(&watch.readers)
		conn, err := maker.Upgrade(w, r)
		if err != nil {
			return
		}
		defer conn.Close()
		for _, event := range watch.events {
			text, _ := json.Marshal(event)
			conn.Write(text)
		}
	})
	e.Server = httptest.NewTLSServer(mux)
	t.Cleanup(e.Close)
	return e
}

func (e *exchange) client(t *testing.T, key string) *virtualreader.Client {
	t.Helper()
	c, err := virtualreader.New(virtualreader.Config{
		Brokers: []string{"wss" + strings.TrimPrefix(e.URL, "https")},
		TLS:     e.Client().Transport.(*http.Transport).TLSClientConfig,
		APIKey:  func(context.Context) (cardbroker.Secret, error) { return cardbroker.NewSecret([]byte(key)), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestAPIKey: a token is used until it is old, by however many at a time, and replaced when it is refused.
func TestAPIKey(t *testing.T) {
	e := newExchange(t, 300)
	c := e.client(t, apiKey)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, err := c.List(t.Context()); err != nil {
				t.Errorf("List = %v", err)
			}
		})
	}
	all.Wait()
	if n := e.given.Load(); n != 1 {
		t.Errorf("the key was exchanged %d times, want once", n)
	}
	e.lowest.Store(2) // the broker has discarded its signing keys
	if _, err := c.List(t.Context()); err != nil || e.given.Load() != 2 {
		t.Errorf("List with a token that is not good any more = %v after %d exchanges", err, e.given.Load())
	}
	e.lowest.Store(99)
	if _, err := c.List(t.Context()); cardbroker.RuleOf(err) != cardbroker.RuleToken || e.given.Load() != 3 {
		t.Errorf("List where no token is good = %v after %d exchanges, want one more try and no other", err, e.given.Load())
	}

	short := newExchange(t, 0)
	c = short.client(t, apiKey)
	for range 3 {
		if _, err := c.List(t.Context()); err != nil {
			t.Errorf("List = %v", err)
		}
	}
	if n := short.given.Load(); n != 3 {
		t.Errorf("tokens that are old at once were exchanged %d times, want 3", n)
	}
	_, err := short.client(t, "cbk1.wrong").List(t.Context())
	if cardbroker.ReasonOf(err) != cardbroker.Unauthenticated || strings.Contains(err.Error(), "wrong") {
		t.Errorf("List with a wrong key = %v, want unauthenticated, without the key", err)
	}
}

// TestWatchOutlivesTokens: a watch that the broker ends when its token expires goes on, and tells everything once.
func TestWatchOutlivesTokens(t *testing.T) {
	e := newExchange(t, 300)
	added := func(id cardbroker.ReaderID) api.ReaderEvent {
		return api.ReaderEvent{Event: api.EventReaderAdded, Reader: id}
	}
	in := func(id cardbroker.ReaderID, atr string) api.ReaderEvent {
		return api.ReaderEvent{Event: api.EventCardIn, Reader: id, ATR: atr}
	}
	with := func(id cardbroker.ReaderID, atr string) api.RemoteReader {
		return api.RemoteReader{ID: id, Card: &api.Card{ATR: atr}}
	}
	// Between the first two watches nothing changes but a new reader; between the next, one has gone, one has lost its card and one
	// has another card.
	first := []api.ReaderEvent{added("a"), in("a", "3B01"), added("b"), in("b", "3B02"), added("c"), in("c", "3B03")}
	list := []api.RemoteReader{with("a", "3B01"), with("b", "3B02"), with("c", "3B03")}
	e.watches <- watched{list, first}
	e.watches <- watched{append(list, api.RemoteReader{ID: "d"}), append(first, added("d"))}
	e.watches <- watched{[]api.RemoteReader{{ID: "b"}, with("c", "3B04"), {ID: "d"}},
		[]api.ReaderEvent{added("b"), added("c"), in("c", "3B04"), added("d")}}
	var seen []string
	enough := errors.New("enough")
	err := e.client(t, apiKey).Watch(t.Context(), func(event virtualreader.Event) error {
		seen = append(seen, event.Event+" "+string(event.Reader))
		if len(seen) == 10 {
			return enough
		}
		return nil
	})
	slices.Sort(seen[7:])
	want := []string{"reader_added a", "card_in a", "reader_added b", "card_in b", "reader_added c", "card_in c", "reader_added d",
		"card_in c", "card_out b", "reader_removed a"}
	if err != enough || !slices.Equal(seen, want) {
		t.Errorf("Watch = %v, saw %q, want %q", err, seen, want)
	}
}
