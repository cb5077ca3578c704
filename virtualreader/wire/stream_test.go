// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package wire_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// memory is a connection whose input arrives in pieces of given sizes, with a passed deadline after each, and then ends.
type memory struct {
	net.Conn // nil: nothing else is used
	in       []byte
	pieces   []int // used in turn; none: all at once
	next     int
	late     bool
	out      bytes.Buffer
	closed   bool
}

func (m *memory) Read(p []byte) (int, error) {
	n := len(m.in)
	if len(m.pieces) > 0 {
		if m.late = !m.late; !m.late {
			return 0, os.ErrDeadlineExceeded
		}
		n = min(n, m.pieces[m.next%len(m.pieces)])
		m.next++
	}
	n = copy(p, m.in[:n])
	m.in = m.in[n:]
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (m *memory) Write(p []byte) (int, error) { return m.out.Write(p) }
func (m *memory) Close() error                { m.closed = true; return nil }

// receive calls Receive again after passed deadlines.
func receive(s *wire.Stream) (wire.Header, []byte, error) {
	for {
		h, p, err := s.Receive()
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return h, p, err
		}
	}
}

// TestStreamRoundTrip sends frames of all sizes and receives them however they are cut.
func TestStreamRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		conn := &memory{pieces: rapid.SliceOfN(rapid.IntRange(1, 3000), 0, 5).Draw(t, "pieces")}
		s := wire.NewStream(conn)
		var headers []wire.Header
		sizes := rapid.SliceOfN(rapid.OneOf(rapid.IntRange(0, 2000), rapid.Just(wire.MaxPayload)), 0, 8).Draw(t, "sizes")
		for i, size := range sizes {
			headers = append(headers, header(t))
			if i < len(sizes)-1 && rapid.Bool().Draw(t, "held") {
				s.Hold(headers[i], bytes.Repeat([]byte{byte(i + 1)}, size))
				continue
			}
			if err := s.Send(headers[i], bytes.Repeat([]byte{byte(i + 1)}, size)); err != nil {
				t.Fatal(err)
			}
		}
		conn.in = bytes.Clone(conn.out.Bytes())
		for i, size := range sizes {
			h, p, err := receive(s)
			if err != nil || h != headers[i] || !bytes.Equal(p, bytes.Repeat([]byte{byte(i + 1)}, size)) {
				t.Fatalf("frame %d of %d bytes: %+v, %d bytes, %v, want %+v", i, size, h, len(p), err, headers[i])
			}
		}
		if _, _, err := receive(s); err != io.EOF {
			t.Errorf("Receive at the end = %v, want %v", err, io.EOF)
		}
	})
}

func TestStreamRefuses(t *testing.T) {
	length := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	tests := []struct {
		name string
		in   []byte
		want error             // nil: reason
		why  cardbroker.Reason // of the error
	}{
		{"the end", nil, io.EOF, ""},
		{"the end in a length", length(24)[:3], io.ErrUnexpectedEOF, ""},
		{"the end after a length", length(24), io.ErrUnexpectedEOF, ""},
		{"the end in a frame", append(length(24), make([]byte, 23)...), io.ErrUnexpectedEOF, ""},
		{"length 0", length(0), nil, cardbroker.Invalid},
		{"a length under a header's", length(wire.HeaderSize - 1), nil, cardbroker.Invalid},
		{"a length over the limit", length(wire.MaxFrame + 1), nil, cardbroker.Invalid},
		{"the greatest length", length(1<<32 - 1), nil, cardbroker.Invalid},
		{"an unknown version", append(length(24), make([]byte, 24)...), nil, cardbroker.Invalid},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := wire.NewStream(&memory{in: test.in}).Receive()
			if test.want != nil && err != test.want || test.want == nil && cardbroker.ReasonOf(err) != test.why {
				t.Errorf("Receive = %v, want %v%s", err, test.want, test.why)
			}
		})
	}
}

// TestStreamResumesAfterDeadline runs over a real pipe: a deadline passes in the middle of a frame, and nothing is lost.
func TestStreamResumesAfterDeadline(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	s := wire.NewStream(ours)
	defer s.Close()
	frame := wire.Append(binary.BigEndian.AppendUint32(nil, wire.HeaderSize+3), wire.Header{Type: wire.TypeAPDU, Seq: 9}, []byte("abc"))
	for _, part := range [][]byte{frame[:2], frame[2:20], frame[20 : len(frame)-1]} {
		arrived := make(chan struct{})
		go func() { theirs.Write(part); s.Conn().SetReadDeadline(time.Unix(1, 0)); close(arrived) }()
		if _, _, err := s.Receive(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("Receive of a part = %v, want %v", err, os.ErrDeadlineExceeded)
		}
		<-arrived
		s.Conn().SetReadDeadline(time.Time{})
	}
	go theirs.Write(frame[len(frame)-1:])
	if h, p, err := s.Receive(); err != nil || h.Seq != 9 || string(p) != "abc" {
		t.Errorf("Receive = %+v, %q, %v, want seq 9 and abc", h, p, err)
	}
}

// TestStreamHolds: a frame that is held goes out with the next one, in one write.
func TestStreamHolds(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	s := wire.NewStream(here)
	s.Hold(wire.Header{Type: wire.TypeSecret, Seq: 1}, []byte("secret"))
	go func() {
		s.Send(wire.Header{Type: wire.TypeCall, Seq: 1}, []byte("question"))
		s.Close()
	}()
	whole := make([]byte, 1024)
	n, err := there.Read(whole)
	if want := 2*(4+wire.HeaderSize) + len("secretquestion"); err != nil || n != want {
		t.Errorf("the first write has %d bytes, want %d: %v", n, want, err)
	}
}

// TestStreamWipes holds that what a frame carried does not stay in the buffers: it may be a PIN.
func TestStreamWipes(t *testing.T) {
	conn := &memory{}
	s := wire.NewStream(conn)
	s.Send(wire.Header{Type: wire.TypeAPDU, Seq: 1}, []byte("secret"))
	s.Send(wire.Header{Type: wire.TypeAPDU, Seq: 2}, []byte("x"))
	conn.in = bytes.Clone(conn.out.Bytes())
	_, first, err := s.Receive()
	if err != nil || string(first) != "secret" {
		t.Fatalf("Receive = %q, %v", first, err)
	}
	if _, _, err := s.Receive(); err != nil || bytes.Contains(first, []byte("secret")) {
		t.Errorf("after the next Receive (%v) the last payload is still %q", err, first)
	}
}

func TestStreamAllocatesNothing(t *testing.T) {
	conn := &memory{}
	s := wire.NewStream(conn)
	payload := make([]byte, 5000)
	trip := func() {
		conn.out.Reset()
		s.Send(wire.Header{Type: wire.TypeAPDU, Seq: 1}, payload)
		conn.in = conn.out.Bytes()
		if _, p, err := s.Receive(); err != nil || len(p) != len(payload) {
			t.Fatalf("Receive = %d bytes, %v", len(p), err)
		}
	}
	trip() // buffers grow
	if n := testing.AllocsPerRun(100, trip); n != 0 {
		t.Errorf("a round trip allocates %v times, want 0", n)
	}
}

// FuzzStream feeds any bytes in any pieces: what is received is what a reader of the whole would find.
func FuzzStream(f *testing.F) {
	frame := wire.Append(binary.BigEndian.AppendUint32(nil, wire.HeaderSize+2), wire.Header{Type: wire.TypeAPDU, Seq: 1}, []byte("ab"))
	f.Add(bytes.Repeat(frame, 3), uint16(7))
	f.Add(append(bytes.Clone(frame), 0, 0, 0, 1), uint16(1))
	f.Add([]byte{0, 0, 4, 0, 1, 15}, uint16(3))
	f.Fuzz(func(t *testing.T, in []byte, piece uint16) {
		s := wire.NewStream(&memory{in: bytes.Clone(in), pieces: []int{1 + int(piece)}})
		for {
			h, p, err := receive(s)
			if err != nil {
				return
			}
			again := wire.Append(binary.BigEndian.AppendUint32(nil, uint32(wire.HeaderSize+len(p))), h, p)
			if !bytes.HasPrefix(in, again) {
				t.Fatalf("received % x, sent % x", again, in)
			}
			in = in[len(again):]
		}
	})
}
