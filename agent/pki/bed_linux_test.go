// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pki_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/test/sealed"
	"github.com/cardbroker/cardbroker/test/softtoken"
)

const shop = cardbroker.Origin("https://shop.example")

// bed asks the routes as a page does.
type bed struct {
	*softtoken.Bed
	t    *testing.T
	base string // of the token's routes
}

func newBed(t *testing.T, policy config.PINPolicy) *bed {
	t.Helper()
	return startBed(t, softtoken.Config{Policy: policy})
}

func startBed(t *testing.T, cfg softtoken.Config) *bed {
	t.Helper()
	started, err := softtoken.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if started.Token != nil && len(started.Token.Left()) > 0 {
			t.Errorf("%d PINs were not overwritten", len(started.Token.Left()))
		}
		if err := started.Stop(); err != nil {
			t.Error(err)
		}
	})
	b := &bed{Bed: started, t: t}
	b.on("card")
	return b
}

// on has the next calls be for the token of a module.
func (b *bed) on(module string) {
	b.base = "/v3/modules/" + module + "/apps/token/readers/" + string(b.Reader()) + "/"
}

// said is an answer.
type said struct {
	api.ErrorBody
	Data json.RawMessage `json:"data"`
	all  []byte
}

// call asks a route of the token, or one with its whole path, for a page; body is nil, or what is sent as JSON.
func (b *bed) call(method, path string, body any) (s said) {
	b.t.Helper()
	return b.callFor(shop, method, path, body)
}

func (b *bed) callFor(origin cardbroker.Origin, method, path string, body any) (s said) {
	b.t.Helper()
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			b.t.Fatal(err)
		}
	}
	if path[0] != '/' {
		path = b.base + path
	}
	r, err := http.NewRequestWithContext(b.t.Context(), method, "http://"+b.Address+path, bytes.NewReader(text))
	if err != nil {
		b.t.Fatal(err)
	}
	if origin != "" {
		r.Header.Set("Origin", string(origin))
	}
	r.Header.Set("X-CSRF-Token", "t1c-js")
	r.Header.Set("Content-Type", "application/json")
	client := http.Client{}
	defer client.CloseIdleConnections()
	answer, err := client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer answer.Body.Close()
	if s.all, err = io.ReadAll(answer.Body); err != nil {
		b.t.Fatal(err)
	}
	if err := json.Unmarshal(s.all, &s); err != nil {
		b.t.Fatalf("%s %s is answered %q: %v", method, path, s.all, err)
	}
	return s
}

// want is that a call of the token is answered with a reason; "": with data, which goes to v.
func (b *bed) want(reason cardbroker.Reason, method, path string, body, v any) said {
	b.t.Helper()
	s := b.call(method, path, body)
	if s.Reason != reason {
		b.t.Fatalf("%s %s is answered %s, want the reason %q", method, path, s.all, reason)
	}
	if reason == "" && v != nil {
		text := []byte(s.Data)
		if len(text) == 0 {
			text = s.all
		}
		if err := json.Unmarshal(text, v); err != nil {
			b.t.Fatal(err)
		}
	}
	return s
}

// pin encrypts a PIN as existing clients do.
func (b *bed) pin(text string) string {
	b.t.Helper()
	public, err := b.Keys.Public()
	if err != nil {
		b.t.Fatal(err)
	}
	blob, err := sealed.PKCS1(public.PEM, []byte(text))
	if err != nil {
		b.t.Fatal(err)
	}
	return blob
}

// events are the names of what was recorded since the last call.
func (b *bed) events() (names []cardbroker.EventName) {
	for _, e := range b.Events() {
		names = append(names, e.Name)
	}
	return names
}

// fields is a JSON object.
type fields = map[string]any
