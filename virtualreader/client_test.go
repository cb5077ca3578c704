// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package virtualreader_test

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/virtualreader"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/cardtest"
)

func TestNewRefuses(t *testing.T) {
	for _, broker := range []string{"", "https://h:1", "ws://h:1", "wss://", "wss://h:1/path", "wss://u:p@h:1", "wss://h:1\n"} {
		if _, err := virtualreader.New(virtualreader.Config{Brokers: []string{broker}}); cardbroker.ReasonOf(err) != cardbroker.Invalid {
			t.Errorf("New(%q) = %v, want %s", broker, err, cardbroker.Invalid)
		}
	}
	if _, err := virtualreader.New(virtualreader.Config{}); cardbroker.ReasonOf(err) != cardbroker.Invalid {
		t.Errorf("New without a broker = %v, want %s", err, cardbroker.Invalid)
	}
}

func TestList(t *testing.T) {
	one, two, dead := newDoor(t), newDoor(t), newDoor(t)
	readers, err := newClient(t, goodToken, one, two).List(t.Context())
	if err != nil || len(readers) != 2 || readers[0].Broker != one.url || readers[1].Broker != two.url ||
		readers[0].ID != readerID || readers[0].Name != cardtest.ReaderName || readers[0].Card.ATR != "3B80800101" {
		t.Errorf("List = %+v, %v", readers, err)
	}
	dead.server.Close()
	readers, err = newClient(t, goodToken, dead, two).List(t.Context())
	if len(readers) != 1 || cardbroker.ReasonOf(err) != cardbroker.Unavailable {
		t.Errorf("List with a dead broker = %+v, %v, want the readers of the other and %s", readers, err, cardbroker.Unavailable)
	}
	_, err = newClient(t, "wrong", one).List(t.Context())
	if cardbroker.ReasonOf(err) != cardbroker.Unauthenticated || cardbroker.RuleOf(err) != cardbroker.RuleToken {
		t.Errorf("List with a wrong token = %v, want %s", err, cardbroker.Unauthenticated)
	}
	if bytes.Contains([]byte(err.Error()), []byte("wrong")) {
		t.Errorf("the error %v shows the token", err)
	}
}

// TestListAsksAllAtOnce has brokers that answer when each of them was asked.
func TestListAsksAllAtOnce(t *testing.T) {
	one, two, three := newDoor(t), newDoor(t), newDoor(t)
	var asked sync.WaitGroup
	asked.Add(3)
	for _, d := range []*door{one, two, three} {
		d.listed = func(context.Context) { asked.Done(); asked.Wait() }
	}
	readers, err := newClient(t, goodToken, one, two, three).List(t.Context())
	if err != nil || len(readers) != 3 || readers[0].Broker != one.url || readers[2].Broker != three.url {
		t.Errorf("List = %+v, %v, want the readers in the order of the brokers", readers, err)
	}
}

func TestWatch(t *testing.T) {
	one, two := newDoor(t), newDoor(t)
	one.events <- api.ReaderEvent{Event: api.EventCardIn, Reader: readerID, ATR: "3B00"}
	two.events <- api.ReaderEvent{Event: api.EventReaderRemoved, Reader: readerID}
	seen := map[string]string{}
	enough := errors.New("enough")
	err := newClient(t, goodToken, one, two).Watch(t.Context(), func(e virtualreader.Event) error {
		if seen[e.Broker] = e.Event; len(seen) == 2 {
			return enough
		}
		return nil
	})
	if err != enough || seen[one.url] != api.EventCardIn || seen[two.url] != api.EventReaderRemoved {
		t.Errorf("Watch = %v, saw %v", err, seen)
	}

	ctx, cancel := context.WithCancel(t.Context())
	one = newDoor(t)
	one.events <- api.ReaderEvent{Event: api.EventCardOut}
	err = newClient(t, goodToken, one).Watch(ctx, func(virtualreader.Event) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Watch with a context that ends = %v, want %v", err, context.Canceled)
	}

	one = newDoor(t)
	close(one.events)
	if err := newClient(t, goodToken, one).Watch(t.Context(), nil); cardbroker.ReasonOf(err) != cardbroker.Unavailable {
		t.Errorf("Watch of a broker that ends it = %v, want %s", err, cardbroker.Unavailable)
	}
	if err := newClient(t, "wrong", one).Watch(t.Context(), nil); cardbroker.ReasonOf(err) != cardbroker.Unauthenticated {
		t.Errorf("Watch with a wrong token = %v, want %s", err, cardbroker.Unauthenticated)
	}
}

func TestOpenRefused(t *testing.T) {
	d, dead := newDoor(t), newDoor(t)
	dead.server.Close()
	busy := newDoor(t)
	busy.open(t)
	tests := []struct {
		name           string
		client         *virtualreader.Client
		reader, ticket string
		o              virtualreader.Options
		want           cardbroker.Reason
	}{
		{"a wrong token", newClient(t, "wrong", d), "-", goodTicket, virtualreader.Options{}, cardbroker.Unauthenticated},
		{"a wrong ticket", newClient(t, goodToken, d), "-", "cbt1.x", virtualreader.Options{}, cardbroker.Unauthenticated},
		{"an unknown reader", newClient(t, goodToken, d), "ffff", goodTicket, virtualreader.Options{}, cardbroker.ReaderUnknown},
		{"a reader's id with a path in it", newClient(t, goodToken, d), "../x", goodTicket, virtualreader.Options{}, cardbroker.ReaderUnknown},
		{"a dead broker", newClient(t, goodToken, dead), "-", goodTicket, virtualreader.Options{}, cardbroker.Unavailable},
		{"a foreign broker", newClient(t, goodToken, d), "-", goodTicket, virtualreader.Options{Broker: dead.url}, cardbroker.Invalid},
		{"a reader in use", newClient(t, goodToken, busy), "-", goodTicket, virtualreader.Options{}, cardbroker.ReaderBusy},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := test.client.Open(t.Context(), test.reader, test.ticket, test.o)
			if cardbroker.ReasonOf(err) != test.want {
				t.Errorf("Open = %v, want %s", err, test.want)
			}
		})
	}
	other, err := newClient(t, goodToken, dead, d).Open(t.Context(), readerID, goodTicket, virtualreader.Options{})
	if err != nil {
		t.Fatalf("Open with one dead broker of two = %v", err)
	}
	other.Close()
}
