// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package readers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/cards"
	"github.com/cardbroker/cardbroker/agent/catalogue"
	"github.com/cardbroker/cardbroker/agent/readers"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/sandbox"
)

// TestMain makes the test program its own sandbox, too.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "fake" {
		streams, err := sandbox.Inherit()
		if err == nil {
			err = sandbox.Serve(context.Background(), streams, fake{}, slog.New(slog.DiscardHandler))
		}
		if err != nil {
			syscall.Exit(3)
		}
		syscall.Exit(0)
	}
	os.Exit(m.Run())
}

// fake has four readers, two of them with cards.
type fake struct{}

func (fake) Watch(ctx context.Context, emit func(sandbox.Event)) error {
	emit(sandbox.Event{Reader: "Acme Twin 00 00", Present: true, Card: &cardbroker.Card{ATR: []byte{0x3B, 0x80, 0x01}}})
	emit(sandbox.Event{Reader: "Acme Twin 00 01", Present: true})
	emit(sandbox.Event{Reader: "Pinco PAD", Present: true, PINPad: true, Card: &cardbroker.Card{}})
	emit(sandbox.Event{Reader: "Windows Hello 1", Present: true})
	emit(sandbox.Event{})
	<-ctx.Done()
	return ctx.Err()
}

func (fake) Connect(string, cardbroker.ShareMode) (sandbox.Card, error) {
	return nil, cardbroker.Errorf(cardbroker.CardAbsent, "none")
}

func newList(t *testing.T, policy *config.Policy) (*readers.List, *cards.Sandbox) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cfg := cards.Config{Program: self, Args: []string{"fake"}}
	if policy != nil {
		cfg.Hidden = policy.Excludes
	}
	box, names := cards.New(cfg), catalogue.New(nil, slog.New(slog.DiscardHandler))
	group := run.New(context.Background())
	group.Go("cards", box.Run)
	group.Go("names", names.Run)
	t.Cleanup(func() { group.Stop() })
	return readers.New(readers.Config{Cards: box, Names: names, Secret: cardbroker.NewSecret([]byte("s")), Modules: []config.Module{
		{Name: "all", PCSC: true}, {Name: "acme", PCSC: true, ATRs: []string{"00", "3b8x*"}}, {Name: "exact", PCSC: true, ATRs: []string{"3B80"}}, {Name: "soft"},
	}}), box
}

// get asks a route of the list and returns its rows, or the reason that there are none.
func get(t *testing.T, l *readers.List, route int, query, id string) (rows []api.CardReader, reason cardbroker.Reason) {
	t.Helper()
	r := httptest.NewRequest("GET", "/?"+query, nil)
	r.SetPathValue("id", id)
	w := httptest.NewRecorder()
	if err := l.Routes()[route].Handle(w, r); err != nil {
		return nil, cardbroker.ReasonOf(err)
	}
	var answer struct{ Data json.RawMessage }
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		t.Fatal(err)
	}
	if route == 1 {
		answer.Data = fmt.Appendf(nil, "[%s]", answer.Data)
	}
	if err := json.Unmarshal(answer.Data, &rows); err != nil {
		t.Fatal(err)
	}
	return rows, ""
}

func names(rows []api.CardReader) string {
	var list []string
	for _, r := range rows {
		list = append(list, r.Name)
	}
	return strings.Join(list, ", ")
}

func TestList(t *testing.T) {
	l, _ := newList(t, nil)
	const all = "Acme Twin 00 00, Acme Twin 00 01, Pinco PAD, Windows Hello 1"
	for _, test := range []struct{ query, want string }{
		{"", all},
		{"cardInserted=true", "Acme Twin 00 00, Pinco PAD"},
		{"cardInserted=false", "Acme Twin 00 01, Windows Hello 1"},
		{"excluded=hello", "Acme Twin 00 00, Acme Twin 00 01, Pinco PAD"},
		{"excluded=", all},
		{"excluded=none,,", all},
		{"excluded=HELLO,acme", "Pinco PAD"},
		{"excluded=hello&excluded=pinco&cardInserted=true", "Acme Twin 00 00"},
		{"excluded=twin*%3F0", "Pinco PAD, Windows Hello 1"},
		{"excluded=00+01", "Acme Twin 00 00, Pinco PAD, Windows Hello 1"},
		{"excluded=*", ""},
		{"excluded=" + strings.Repeat("a,", 17), "invalid"},
		{"excluded=" + strings.Repeat("a", 65), "invalid"},
		{"excluded=%FF", "invalid"},
		{"cardInserted=maybe", "invalid"},
	} {
		rows, reason := get(t, l, 0, test.query, "")
		if got := names(rows) + string(reason); got != test.want {
			t.Errorf("?%s lists %q, want %q", test.query, got, test.want)
		}
	}
	rows, _ := get(t, l, 0, "", "")
	card := rows[0].Card
	if card.ATR != "3B8001" || fmt.Sprint(card.Modules) != "[all acme]" || card.Description == nil || rows[1].Card != nil || rows[0].PINPad || !rows[2].PINPad {
		t.Errorf("the readers are %+v, the first has %+v", rows, card)
	}
	if mute := rows[2].Card; mute.ATR != "" || len(mute.Modules) != 0 || mute.Modules == nil {
		t.Errorf("a card that does not answer is %+v", mute)
	}
	one, reason := get(t, l, 1, "", string(rows[1].ID))
	if reason != "" || one[0].Name != "Acme Twin 00 01" {
		t.Errorf("the reader by its id is %+v, %s", one, reason)
	}
	if _, reason := get(t, l, 1, "", "0000000000000000"); reason != cardbroker.ReaderUnknown {
		t.Errorf("a reader that is none: %s", reason)
	}
}

// TestPolicy: a reader that policy excludes is not there, and cannot be opened.
func TestPolicy(t *testing.T) {
	l, box := newList(t, &config.Policy{Exclude: []cardbroker.ReaderPattern{"hello", "twin*0"}})
	if rows, reason := get(t, l, 0, "", ""); names(rows) != "Pinco PAD" {
		t.Errorf("the list is %q %s", names(rows), reason)
	}
	if got := box.Snapshot(); len(got) != 1 {
		t.Errorf("the snapshot is %+v", got)
	}
	if _, err := box.Turn(t.Context(), "Acme Twin 00 00"); cardbroker.ReasonOf(err) != cardbroker.ReaderUnknown {
		t.Errorf("Turn = %v, want reader_unknown", err)
	}
}

func TestChanges(t *testing.T) {
	l, box := newList(t, nil)
	if _, err := box.Readers(t.Context()); err != nil {
		t.Fatal(err)
	}
	filter, err := readers.ParseFilter(url.Values{"excluded": {"twin"}, "cardInserted": {"true"}})
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	next := l.Changes(t.Context(), filter)
	for _, e := range append(next(), next()...) {
		said = append(said, e.Event+" "+e.Name)
	}
	if got := strings.Join(said, ", "); got != "reader_added Pinco PAD, card_in Pinco PAD, reader_added Windows Hello 1" {
		t.Errorf("the events are %s", got)
	}
}
