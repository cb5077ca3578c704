// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package tokens

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/tokens"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/test/sealed"
	"github.com/cardbroker/cardbroker/test/softtoken"
)

// sandbox is the program that the modules run in.
var sandbox string

// TestMain builds it.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "cardbroker-tokens-")
	if err != nil {
		panic(err)
	}
	sandbox = filepath.Join(dir, "cardsandbox")
	if out, err := exec.Command("go", "build", "-o", sandbox, "../../cmd/cardsandbox").CombinedOutput(); err != nil {
		panic("cannot build the sandbox: " + string(out))
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// page is a page that uses the token of one module.
type page struct {
	*softtoken.Bed
	t      *testing.T
	module string
	token  string // its id
	base   string // of the token's routes
}

// newPage serves a module for a page. reader is the card's; empty: it is no card, and the slot with a token is found.
func newPage(t *testing.T, m config.Module, socket, reader string) *page {
	t.Helper()
	policy := config.PINPolicy{Session: config.PINSession{Time: 1 << 40, Uses: 1000}}
	modules := tokens.New(tokens.Config{Program: sandbox, Modules: []config.Module{m}, PCSC: socket})
	bed, err := softtoken.Start(t.Context(), softtoken.Config{Policy: policy, Tokens: modules, Modules: []config.Module{m}, Reader: reader})
	if err != nil {
		t.Fatal(err)
	}
	group := run.New(t.Context())
	group.Go("tokens", modules.Run)
	t.Cleanup(func() {
		if err := bed.Stop(); err != nil {
			t.Error(err)
		}
		group.Stop()
	})
	p := &page{Bed: bed, t: t, module: m.Name}
	id := bed.Reader()
	if reader == "" {
		var slots api.Slots
		p.ask("GET", "/cb/v1/modules/"+m.Name+"/slots?present=true", nil, "", &slots)
		for _, slot := range slots.Slots {
			if slot.Token != nil && slot.Token.SerialNumber != "" {
				id = slot.ID
			}
		}
	}
	p.token = string(id)
	p.base = "/v3/modules/" + m.Name + "/apps/token/readers/" + string(id) + "/"
	return p
}

// ask asks a route, of the token if it does not begin with a slash, and wants an answer with a reason; "": with data, for v.
func (p *page) ask(method, path string, body any, reason cardbroker.Reason, v any) {
	p.t.Helper()
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			p.t.Fatal(err)
		}
	}
	if path[0] != '/' {
		path = p.base + path
	}
	r, err := http.NewRequestWithContext(p.t.Context(), method, "http://"+p.Address+path, bytes.NewReader(text))
	if err != nil {
		p.t.Fatal(err)
	}
	for name, value := range map[string]string{"Origin": "https://shop.example", "X-CSRF-Token": "t1c-js", "Content-Type": "application/json"} {
		r.Header.Set(name, value)
	}
	client := http.Client{}
	defer client.CloseIdleConnections()
	answer, err := client.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(answer.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	var envelope struct {
		Reason cardbroker.Reason `json:"reason"`
		Data   json.RawMessage   `json:"data"`
	}
	if err := json.Unmarshal(said, &envelope); err != nil || envelope.Reason != reason {
		p.t.Fatalf("%s %s is answered %s, want the reason %q", method, path, said, reason)
	}
	if v == nil {
		return
	}
	if envelope.Data == nil {
		envelope.Data = said
	}
	if err := json.Unmarshal(envelope.Data, v); err != nil {
		p.t.Fatal(err)
	}
}

// pin encrypts a PIN as existing clients do.
func (p *page) pin(text string) string {
	p.t.Helper()
	public, err := p.Keys.Public()
	if err != nil {
		p.t.Fatal(err)
	}
	blob, err := sealed.PKCS1(public.PEM, []byte(text))
	if err != nil {
		p.t.Fatal(err)
	}
	return blob
}

// fields is a JSON object.
type fields = map[string]any
