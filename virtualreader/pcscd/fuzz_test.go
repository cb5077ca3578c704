// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcscd_test

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker/virtualreader/pcscd"
)

// Stand-ins in the corpus for numbers that are known only when the server runs.
const (
	handleMark  = 0xAAAAAAAA
	contextMark = 0xCCCCCCCC
)

// message is a message of the corpus.
func message(command uint32, body []byte, data ...byte) []byte {
	return append(append(words(uint32(len(body)), command), body...), data...)
}

// FuzzClient has a client say anything to a server, to a card that is in use by another. The other never notices, nothing
// is left behind, and no two calls on a card overlap.
func FuzzClient(f *testing.F) {
	connect := (&speaker{context: contextMark}).connectBody("r", shared, either)
	for _, seed := range [][]byte{
		message(0x11, words(4, 4, 0)),
		bytes.Join([][]byte{message(0x07, words(handleMark, 0)), message(0x09, words(handleMark, t1, 16, 5, 0, 0, 300, 0), 0, 0xA4, 4, 0, 0), message(0x08, words(handleMark, reset, 0))}, nil),
		bytes.Join([][]byte{message(0x13, nil), message(0x13, nil), message(0x14, nil), message(0x0D, words(contextMark, 0))}, nil),
		bytes.Join([][]byte{message(0x04, connect), message(0x05, words(handleMark, exclusive, either, reset, 0, 0)), message(0x06, words(handleMark, unpower, 0))}, nil),
		bytes.Join([][]byte{message(0x0A, words(handleMark, 0x42000D48, 3, 100, 0, 0), 1, 2, 3), message(0x0F, append(append(words(handleMark, 0x90303), make([]byte, 264)...), words(264, 0)...))}, nil),
		bytes.Join([][]byte{message(0x01, words(2, 0, 0)), message(0x02, words(contextMark, 0)), message(0x12, nil), message(0x15, nil), message(0x16, nil), message(0x17, nil)}, nil),
		bytes.Join([][]byte{message(0x11, words(4, 6, 0)), message(0x13, nil), message(0x16, nil), message(0x17, nil), message(0x15, nil), message(0x14, nil)}, nil),
		bytes.Join([][]byte{message(0x11, words(4, 6, 0)), message(0x17, nil), message(0x13, nil), message(0x13, nil), message(0x14, nil), message(0x17, nil), message(0x0D, words(contextMark, 0))}, nil),
		words(1<<31, 0x09), {1, 2, 3},
	} {
		f.Add(seed)
	}
	source := newFake(f, with("r"))
	socket := serve(f, pcscd.Config{Source: source})
	other := enter(f, socket)
	h := other.connect("r")
	f.Fuzz(func(t *testing.T, input []byte) {
		source.t = t
		p := enter(t, socket)
		for from, to := range map[uint32]uint32{handleMark: p.connect("r"), contextMark: p.context} {
			input = bytes.ReplaceAll(input, words(from), words(to))
		}
		p.conn.SetDeadline(time.Now().Add(waitLimit))
		go func() {
			p.conn.Write(input)
			p.conn.(interface{ CloseWrite() error }).CloseWrite()
		}()
		if _, err := io.Copy(io.Discard, p.conn); err != nil && !bytes.Contains([]byte(err.Error()), []byte("reset by peer")) {
			t.Errorf("the server does not end the connection: %v", err)
		}
		other.t = t
		if code := other.status(h); code == resetCard {
			if _, code = other.reconnect(h, shared, leave); code != success {
				t.Errorf("Reconnect = %#x, want success", code)
			}
		}
		for start := time.Now(); other.state("r").sharing != 1; {
			if time.Since(start) > waitLimit {
				t.Fatalf("a handle is left behind")
			}
		}
		check(t, "another's Transmit", other.try(h), success)
	})
}
