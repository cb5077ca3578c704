// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcscd

import (
	"bytes"
	"io"
	"testing"
)

// piecewise reads a few bytes at a time.
type piecewise struct {
	from []byte
	size int
}

func (p *piecewise) Read(b []byte) (int, error) {
	if len(p.from) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), p.size)], p.from)
	p.from = p.from[n:]
	return n, nil
}

// FuzzInput reads messages in pieces of any size: they are those that were sent, in no more room than the largest needs,
// and what was taken is not kept.
func FuzzInput(f *testing.F) {
	header := func(size, command uint32) []byte {
		b := make([]byte, headerSize)
		put(b, 0, size)
		put(b, 4, command)
		return b
	}
	transmit := append(header(32, uint32(cmdTransmit)), make([]byte, 32)...)
	put(transmit, headerSize+12, 5)
	f.Add(append(transmit, "apdu!"...), 3)
	f.Add(append(header(0, uint32(cmdStates)), header(12, uint32(cmdVersion))...), 100)
	f.Add(header(0, 0), 1)
	f.Add(make([]byte, 70000), 60000)
	f.Fuzz(func(t *testing.T, sent []byte, size int) {
		in := input{from: &piecewise{from: sent, size: 1 + size&0xFFFF}}
		var got []byte
		for {
			m, err := in.next()
			if len(in.buf) > usualInput+maxData {
				t.Fatalf("the buffer has %d bytes", len(in.buf))
			}
			if err != nil {
				break
			}
			head := header(uint32(len(m.body)), uint32(m.command))
			got = append(append(append(got, head...), m.body...), m.data...)
		}
		if !bytes.HasPrefix(sent, got) {
			t.Errorf("read %x of %x", got, sent)
		}
		in.rest()
		if len(in.buf) != usualInput || len(bytes.Trim(in.buf, "\x00")) > 0 {
			t.Errorf("%d bytes are kept, or not forgotten", len(in.buf))
		}
	})
}
