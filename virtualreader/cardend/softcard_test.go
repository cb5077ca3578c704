// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/pinpad"
	"github.com/cardbroker/cardbroker/sandbox"
	"github.com/cardbroker/cardbroker/sandbox/softcard"
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// software opens the software card without a process between.
type software struct{ *softcard.Reader }

func (s software) Open(_ context.Context, reader string, share cardbroker.ShareMode) (cardend.Card, error) {
	card, err := s.Connect(reader, share)
	if err != nil {
		return nil, err
	}
	return softwareCard{card}, nil
}

type softwareCard struct{ sandbox.Card }

func (c softwareCard) Transmit(_ context.Context, dst, command []byte) ([]byte, time.Duration, error) {
	response, err := c.Card.Transmit(dst, command)
	return response, 0, err
}
func (c softwareCard) Close(d cardbroker.Disposition) error { return c.Disconnect(d) }
func (c softwareCard) Begin(context.Context) error          { return c.Card.Begin() }
func (c softwareCard) End(_ context.Context, d cardbroker.Disposition) error {
	return c.Card.End(d)
}
func (c softwareCard) Control(_ context.Context, dst []byte, code uint32, input []byte) ([]byte, error) {
	return c.Card.Control(dst, code, input)
}
func (c softwareCard) Attribute(_ context.Context, id uint32) ([]byte, error) {
	return c.Card.Attribute(id)
}

// TestPadOnSoftwareCard: right, wrong and blocked PINs of a PIV card, through the pin pad alone.
func TestPadOnSoftwareCard(t *testing.T) {
	reader, err := softcard.New(filepath.Join(t.TempDir(), "card.json"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	a, u := withPad(t)
	a.holder = cardend.New(software{reader}, a.leases)
	a.change = func(t *cardend.Tunnel) {
		t.Reader, t.Present, t.Changed, t.PIN, t.Asker = softcard.Name, nil, nil, cardbroker.PINAgent, u
	}
	b := a.open("alpha")
	transmit := func(command, want string) {
		t.Helper()
		if _, response, err := wire.ParseTimes(b.ask(wire.TypeAPDU, []byte(command), wire.TypeAPDUResponse)); err != nil || string(response[len(response)-2:]) != want {
			t.Errorf("% X is answered % X, %v, want % X", command, response, err, want)
		}
	}
	transmit("\x00\xA4\x04\x00\x0B\xA0\x00\x00\x03\x08\x00\x00\x10\x00\x01\x00", "\x61\x2D")
	const status = "\x00\x20\x00\x80"
	transmit(status, "\x63\xC3")
	for _, test := range []struct {
		template string
		enters   []string
		want     string
		tries    int // the user was told of; -1: none
	}{
		{verifyTemplate, []string{"123456"}, "9000", -1},
		{verifyTemplate, []string{"654321"}, "63c2", -1},
		{changeTemplate, []string{"111111", "222222", "222222"}, "63c1", 2},
		{changeTemplate, []string{"123456", "222222", "222222"}, "9000", 1},
		{verifyTemplate, []string{"222222"}, "9000", -1},
		{verifyTemplate, []string{"123456"}, "63c2", -1},
		{verifyTemplate, []string{"123456"}, "63c1", 2},
		{verifyTemplate, []string{"123456"}, "63c0", 1},
		{verifyTemplate, []string{"222222"}, "6983", 0},
		{resetTemplate, []string{"12345678", "333333", "333333"}, "9000", -1},
		{verifyTemplate, []string{"333333"}, "9000", -1},
	} {
		u.enters(test.enters...)
		code, p := pinpad.ModifyPINDirect, modifyStructure(t, test.template)
		if test.template == verifyTemplate {
			code, p = pinpad.VerifyPINDirect, verifyStructure(t, 30, test.template)
		}
		if got := b.pad(code, p); got != test.want {
			t.Errorf("%s with %v is answered %s, want %s", test.template, test.enters, got, test.want)
		}
		q := <-u.asked
		if told := q.Problem == cardend.ProblemWrong; told != (test.tries >= 0) || told && q.Tries != test.tries {
			t.Errorf("before %s the user was told %q, %d tries left, want %d", test.want, q.Problem, q.Tries, test.tries)
		}
	}
	transmit(status, "\x90\x00")
}
