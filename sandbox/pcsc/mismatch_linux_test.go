// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcsc_test

import (
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/sandbox/pcsc"
)

// What a service answers to a connect: SCARD_*, and a protocol.
type connectAnswer struct{ code, protocol uint32 }

const (
	scardNoSmartcard   = 0x8010000C
	scardProtoMismatch = 0x8010000F
)

// Requests of pcsc-lite's clients, winscard_msg.h, and how long what is said of all readers is.
const (
	requestConnect      = 0x04
	requestReadersState = 0x12
	readersStateSize    = 16 * 184
)

// connects is a service that has one reader and says nothing wrong but to connects: the next answer, and then the last one again.
func connects(t *testing.T, answers ...connectAnswer) (asked *atomic.Int32) {
	t.Helper()
	asked = new(atomic.Int32)
	falseService(t, func(conn net.Conn) {
		for {
			var header [2]uint32 // the body's size, and the request
			if err := binary.Read(conn, binary.NativeEndian, &header); err != nil {
				return
			}
			body := make([]byte, header[0])
			if _, err := io.ReadFull(conn, body); err != nil {
				t.Errorf("request %#x: %v", header[1], err)
				return
			}
			switch header[1] {
			case requestConnect:
				next := answers[min(int(asked.Add(1)), len(answers))-1]
				end := len(body)
				binary.NativeEndian.PutUint32(body[end-12:], 7) // the handle
				binary.NativeEndian.PutUint32(body[end-8:], next.protocol)
				binary.NativeEndian.PutUint32(body[end-4:], next.code)
			case requestReadersState:
				body = readerState("reader")
			}
			if _, err := conn.Write(body); err != nil && !errors.Is(err, net.ErrClosed) {
				return
			}
		}
	})
	return asked
}

// readerState is the state of all readers, of which there is one, with a card that has no ATR.
func readerState(name string) []byte {
	state := make([]byte, readersStateSize)
	copy(state, name)
	binary.NativeEndian.PutUint32(state[132:], 4) // SCARD_PRESENT
	return state
}

// TestRemovedWhileConnecting: pcscd has told of a card that was just being removed that it has no protocol in common with the reader, or has
// made a connection without a protocol. That was "unsupported", as if the card were of no use.
func TestRemovedWhileConnecting(t *testing.T) {
	for name, first := range map[string]connectAnswer{"mismatch": {scardProtoMismatch, 0}, "no protocol": {0, 0}} {
		t.Run(name, func(t *testing.T) {
			asked := connects(t, first, connectAnswer{scardNoSmartcard, 0})
			_, err := pcsc.New(slog.New(slog.DiscardHandler)).Connect("reader", cardbroker.ShareShared)
			if cardbroker.ReasonOf(err) != cardbroker.CardAbsent {
				t.Errorf("Connect = %v, want CardAbsent", err)
			}
			if n := asked.Load(); n != 2 {
				t.Errorf("the service was asked %d times, want 2", n)
			}
		})
	}
}

// TestNoProtocolInCommon: what the service goes on saying is so.
func TestNoProtocolInCommon(t *testing.T) {
	asked := connects(t, connectAnswer{scardProtoMismatch, 0})
	_, err := pcsc.New(slog.New(slog.DiscardHandler)).Connect("reader", cardbroker.ShareShared)
	if cardbroker.ReasonOf(err) != cardbroker.Unsupported {
		t.Errorf("Connect = %v, want Unsupported", err)
	}
	if n := asked.Load(); n != 3 {
		t.Errorf("the service was asked %d times, want 3", n)
	}
}
