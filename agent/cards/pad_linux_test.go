// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cards_test

import (
	"context"
	"encoding/binary"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/cards"
	"github.com/cardbroker/cardbroker/agent/pin"
	"github.com/cardbroker/cardbroker/internal/pinpad"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/sandbox"
	"github.com/cardbroker/cardbroker/sandbox/softcard"
	"github.com/cardbroker/cardbroker/virtualreader/pcscd"
)

// padReader is a reader of our own PC/SC server with a software card, that asks for PINs by itself: PC/SC Part 10.
type padReader struct {
	card *softcard.Reader
	user chan string // what its user enters: a PIN, or "cancel" or "wait"
}

func (r *padReader) Watch(ctx context.Context, emit func(pcscd.Event)) error {
	emit(pcscd.Event{Reader: "Pad 00", Present: true, Card: &cardbroker.Card{ATR: []byte("\x3B\x80\x80\x01\x01"), Protocol: cardbroker.ProtocolT1}})
	emit(pcscd.Event{})
	<-ctx.Done()
	return ctx.Err()
}

func (r *padReader) Connect(_ context.Context, _ string, share cardbroker.ShareMode) (pcscd.Card, error) {
	connected, err := r.card.Connect(softcard.Name, cardbroker.ShareShared)
	return &padCard{Card: connected, reader: r}, err
}

// padCard is a connection to its card.
type padCard struct {
	sandbox.Card
	reader *padReader
}

func (c *padCard) Transmit(_ context.Context, dst, command []byte) ([]byte, error) {
	return c.Card.Transmit(dst, command)
}
func (c *padCard) Begin(context.Context) error { return c.Card.Begin() }
func (c *padCard) End(_ context.Context, d cardbroker.Disposition) error {
	return c.Card.End(d)
}
func (c *padCard) Disconnect(_ context.Context, d cardbroker.Disposition) error {
	return c.Card.Disconnect(d)
}
func (c *padCard) Attribute(context.Context, uint32) ([]byte, error) {
	return nil, cardbroker.Errorf(cardbroker.Unsupported, "no such attribute")
}

func (c *padCard) Control(_ context.Context, dst []byte, code uint32, input []byte) ([]byte, error) {
	switch code {
	case pinpad.GetFeatureRequest:
		return pinpad.Features{{Tag: pinpad.VerifyPINDirect, Code: pinpad.VerifyPINDirect.Code()}}.Append(dst), nil
	case pinpad.VerifyPINDirect.Code():
	default:
		return dst, cardbroker.Errorf(cardbroker.Unsupported, "no such function")
	}
	entry, err := pinpad.ParseVerify(input)
	if err != nil {
		return dst, err
	}
	switch entered := <-c.reader.user; entered {
	case "cancel":
		return binary.BigEndian.AppendUint16(dst, uint16(pinpad.Canceled)), nil
	case "wait":
		return binary.BigEndian.AppendUint16(dst, uint16(pinpad.TimedOut)), nil
	default:
		return c.Card.Transmit(dst, entry.Command([]byte(entered), nil))
	}
}

// TestPad has a PIN entered at a reader, through the real sandbox, libpcsclite and a PC/SC server.
func TestPad(t *testing.T) {
	testenv.Tool(t, "gcc")
	card, err := softcard.New("", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	source := &padReader{card: card, user: make(chan string, 1)}
	socket := filepath.Join(t.TempDir(), "pcscd.comm")
	listener, err := pcscd.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	served := make(chan error, 1)
	go func() {
		served <- pcscd.New(pcscd.Config{Source: source, Log: slog.New(slog.DiscardHandler)}).Serve(ctx, listener)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve() = %v", err)
		}
	})
	s := runBeside(t, cards.Config{Program: testenv.Sandbox(t, true), Args: []string{"pcsc"}, Env: []string{"PCSCLITE_CSOCK_NAME=" + socket}})
	readers, err := s.Readers(ctx)
	if err != nil || len(readers) != 1 || !readers[0].PINPad {
		t.Fatalf("Readers() = %+v, %v, want one with a pin pad", readers, err)
	}
	verify, err := pin.NewVerify(0x80, pin.EncodingPIV, []byte("\xA0\x00\x00\x03\x08"))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		entered string
		want    cardbroker.Reason
		left    int
	}{
		{"123456", "", 3}, {"cancel", cardbroker.PINCanceled, 3}, {"wait", cardbroker.Timeout, 3}, {"654321", cardbroker.PINIncorrect, 2}, {"123456", "", 3},
	} {
		source.user <- test.entered
		turn, err := s.Turn(ctx, "Pad 00")
		if err != nil {
			t.Fatal(err)
		}
		target, err := pin.OnCard(ctx, turn, verify)
		if err != nil {
			t.Fatal(err)
		}
		err = target.(pin.Pad).VerifyAtReader(ctx)
		wantReason(t, "VerifyAtReader of "+test.entered, err, test.want)
		if e, ok := err.(*cardbroker.Error); ok && e.Reason == cardbroker.PINIncorrect && e.Retries != test.left {
			t.Errorf("%d tries are left, want %d", e.Retries, test.left)
		}
		if err := target.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	}
}
