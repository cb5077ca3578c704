// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package sandbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/sandbox"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// deck is readers whose events and cards the test deals out.
type deck struct {
	events  chan sandbox.Event
	actions chan string // what was done with the cards
	hang    chan struct{}
}

func (d *deck) Watch(ctx context.Context, emit func(sandbox.Event)) error {
	for {
		select {
		case e, ok := <-d.events:
			if !ok {
				return cardbroker.Errorf(cardbroker.Unavailable, "the readers are gone")
			}
			emit(e)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (d *deck) Connect(name string, share cardbroker.ShareMode) (sandbox.Card, error) {
	if share == cardbroker.ShareExclusive {
		return nil, cardbroker.Errorf(cardbroker.ReaderBusy, "somebody has it")
	}
	return &dealt{deck: d, name: name}, nil
}

type dealt struct {
	deck *deck
	name string
}

var theCard = cardbroker.Card{ATR: []byte{0x3B, 0x01, 0xAA}, Protocol: cardbroker.ProtocolT0}

func (c *dealt) Info() cardbroker.Card { return theCard }
func (c *dealt) Begin() error          { return nil }
func (c *dealt) End(d cardbroker.Disposition) error {
	c.deck.actions <- fmt.Sprintf("end %s %d", c.name, d)
	return nil
}
func (c *dealt) Control(dst []byte, code uint32, input []byte) ([]byte, error) {
	switch code {
	case 1:
		return dst, cardbroker.Errorf(cardbroker.Unsupported, "the reader has no such function")
	case 2:
		return append(dst, make([]byte, wire.MaxPayload+1)...), nil
	}
	return append(append(dst, "did "...), input...), nil
}
func (c *dealt) Attribute(id uint32) ([]byte, error) {
	if id == 0 {
		return nil, cardbroker.Errorf(cardbroker.Unsupported, "the reader has no such attribute")
	}
	return []byte("value"), nil
}
func (c *dealt) Disconnect(d cardbroker.Disposition) error {
	c.deck.actions <- fmt.Sprintf("disconnect %s %d", c.name, d)
	return nil
}

func (c *dealt) Transmit(dst, command []byte) ([]byte, error) {
	switch command[1] {
	case 0x01:
		<-c.deck.hang
	case 0x02:
		return dst, cardbroker.Wrapf(errors.New("code 0x80100066"), cardbroker.CardMute, "the card does not answer")
	case 0x03:
		return dst, errors.New("/opt/vendor/lib: a path")
	case 0x04:
		return dst, nil
	case 0x05:
		return append(dst, make([]byte, 65539)...), nil
	}
	return append(append(dst, command...), 0x90, 0x00), nil
}

// agent is the other end of a Serve.
type agent struct {
	t       *testing.T
	deck    *deck
	streams []*wire.Stream
	seq     uint64
	log     bytes.Buffer // read after the end
	ended   chan error
}

func newDeck() *deck {
	return &deck{events: make(chan sandbox.Event), actions: make(chan string, 16), hang: make(chan struct{})}
}

func newAgent(t *testing.T) *agent {
	d := newDeck()
	return serve(t, d, d)
}

// serve serves the deck's readers, or others that stand before them.
func serve(t *testing.T, d *deck, readers sandbox.Readers) *agent {
	a := converse(t, func(streams []net.Conn, log *slog.Logger) error {
		return sandbox.Serve(context.Background(), streams, readers, log)
	})
	a.deck = d
	return a
}

// converse has the function serve the other ends of the agent's streams.
func converse(t *testing.T, serve func([]net.Conn, *slog.Logger) error) *agent {
	a := &agent{t: t, ended: make(chan error, 1)}
	var theirs []net.Conn
	for range wire.Streams {
		our, their := net.Pipe()
		a.streams = append(a.streams, wire.NewStream(our))
		theirs = append(theirs, their)
		our.SetDeadline(time.Now().Add(20 * time.Second)) // a test fails, it does not hang
		t.Cleanup(func() { our.Close() })
	}
	log := slog.New(slog.NewTextHandler(&a.log, nil))
	go func() { a.ended <- serve(theirs, log) }()
	return a
}

// end returns what Serve returned, once it has.
func (a *agent) end() error {
	a.t.Helper()
	select {
	case err := <-a.ended:
		return err
	case <-time.After(20 * time.Second):
		a.t.Fatal("Serve() does not return")
		return nil
	}
}

// ask sends a question and returns the answer.
func (a *agent) ask(stream int, t wire.Type, reader uint32, payload []byte) (wire.Type, []byte) {
	a.t.Helper()
	a.seq++
	if err := a.streams[stream].Send(wire.Header{Type: t, Reader: reader, Seq: a.seq}, payload); err != nil {
		a.t.Fatalf("Send(%d) = %v", t, err)
	}
	h, answer, err := a.streams[stream].Receive()
	if err != nil || h.Seq != a.seq || h.Reader != reader {
		a.t.Fatalf("the answer to %d is %+v, %v, want number %d and reader %d", t, h, err, a.seq, reader)
	}
	return h.Type, answer
}

// wantError asks what must fail.
func (a *agent) wantError(stream int, t wire.Type, reader uint32, payload []byte, want cardbroker.Reason) *cardbroker.Error {
	a.t.Helper()
	got, answer := a.ask(stream, t, reader, payload)
	if got != wire.TypeError {
		a.t.Fatalf("the answer to %d has the type %d, want an Error", t, got)
	}
	e, err := wire.ParseError(answer)
	if err != nil || e.Reason != want {
		a.t.Errorf("the answer to %d is %v, %v, want the reason %q", t, e, err, want)
	}
	return e
}

// deal has the readers emit an event and returns what arrives of it, n frames.
func (a *agent) deal(e sandbox.Event, n int) string {
	a.t.Helper()
	a.deck.events <- e
	var frames []string
	for range n {
		h, payload, err := a.streams[0].Receive()
		if err != nil {
			a.t.Fatalf("Receive() = %v", err)
		}
		frames = append(frames, fmt.Sprintf("%d:%d:%d %q", h.Type, h.Reader, h.Seq, payload))
	}
	return strings.Join(frames, ", ")
}

// watch asks for the readers: one, with a card, as reader 1 on stream 1.
func (a *agent) watch() {
	a.t.Helper()
	if err := a.streams[0].Send(wire.Header{Type: wire.TypeWatch, Seq: 9}, nil); err != nil {
		a.t.Fatal(err)
	}
	a.deal(sandbox.Event{Reader: "one", Present: true, Card: &theCard}, 2)
}

func (a *agent) connect() {
	a.t.Helper()
	if got, _ := a.ask(1, wire.TypeConnect, 1, wire.Connect{Share: cardbroker.ShareShared}.Append(nil)); got != wire.TypeConnected {
		a.t.Fatalf("the answer to Connect has the type %d", got)
	}
}

func TestEvents(t *testing.T) {
	a := newAgent(t)
	a.streams[0].Send(wire.Header{Type: wire.TypeWatch, Seq: 9}, nil)
	steps := []struct {
		name  string
		event sandbox.Event
		want  []string // type:reader:seq payload
	}{
		{"reader", sandbox.Event{Reader: "one", Present: true}, []string{`3:1:0 "\x01\x00one"`, `6:1:0 ""`}},
		{"another with a card", sandbox.Event{Reader: "two", PINPad: true, Present: true, Card: &theCard},
			[]string{`3:2:0 "\x02\x01two"`, `5:2:0 "\x00\x00\x00\x01;\x01\xaa"`}},
		{"that was all", sandbox.Event{}, []string{`20:0:9 ""`}},
		{"card in", sandbox.Event{Reader: "one", Present: true, Card: &theCard}, []string{`5:1:0 "\x00\x00\x00\x01;\x01\xaa"`}},
		{"card out", sandbox.Event{Reader: "one", Present: true}, []string{`6:1:0 ""`}},
		{"removed", sandbox.Event{Reader: "one"}, []string{`4:1:0 ""`}},
		{"removed again, and a third", sandbox.Event{Reader: "one"}, nil},
		{"a third does not take the stream", sandbox.Event{Reader: "three", Present: true}, []string{`3:3:0 "\x03\x00three"`, `6:3:0 ""`}},
		{"back on its stream, under a new number", sandbox.Event{Reader: "one", Present: true}, []string{`3:4:0 "\x01\x00one"`, `6:4:0 ""`}},
	}
	for _, step := range steps {
		if got, want := a.deal(step.event, len(step.want)), strings.Join(step.want, ", "); got != want {
			t.Errorf("%s: %s, want %s", step.name, got, want)
		}
	}
}

func TestTooManyReaders(t *testing.T) {
	a := newAgent(t)
	a.streams[0].Send(wire.Header{Type: wire.TypeWatch, Seq: 9}, nil)
	for n := range wire.Streams - 1 {
		a.deal(sandbox.Event{Reader: fmt.Sprint(n), Present: true}, 2)
	}
	a.deal(sandbox.Event{Reader: "15", Present: true}, 0)
	a.deal(sandbox.Event{Reader: "16", Present: true}, 0)
	a.deal(sandbox.Event{Reader: "7"}, 1)
	if got := a.deal(sandbox.Event{Reader: "16", Present: true}, 2); !strings.HasPrefix(got, `3:16:0 "\b\x0016"`) {
		t.Errorf("a reader that fits now: %s, want it on stream 8", got)
	}
	a.streams[0].Close()
	if err := a.end(); err != nil {
		t.Errorf("Serve() = %v, want nil", err)
	}
	if got := strings.Count(a.log.String(), "too many readers"); got != 1 {
		t.Errorf("the log says %d times that there are too many: %s", got, &a.log)
	}
}

func TestConversation(t *testing.T) {
	a := newAgent(t)
	a.watch()
	a.wantError(1, wire.TypeAPDU, 1, []byte{0, 0, 0, 0}, cardbroker.CardRemoved)
	a.wantError(1, wire.TypeConnect, 2, wire.Connect{Share: 2}.Append(nil), cardbroker.ReaderUnknown)
	a.wantError(1, wire.TypeConnect, 1, wire.Connect{Share: 1}.Append(nil), cardbroker.ReaderBusy)
	got, answer := a.ask(1, wire.TypeConnect, 1, wire.Connect{Share: 2}.Append(nil))
	if m, err := wire.ParseCardIn(answer); got != wire.TypeConnected || err != nil || !bytes.Equal(m.ATR, theCard.ATR) || m.Protocol != 1 {
		t.Errorf("Connect: type %d, %+v, %v, want the card", got, m, err)
	}
	for _, size := range []int{4, 300, 65536} {
		cmd := make([]byte, size)
		got, answer := a.ask(1, wire.TypeAPDU, 1, cmd)
		if _, response, err := wire.ParseTimes(answer); got != wire.TypeAPDUResponse || err != nil || !bytes.Equal(response, append(cmd, 0x90, 0)) {
			t.Errorf("APDU of %d bytes: type %d, %d bytes, %v", size, got, len(response), err)
		}
	}
	for _, step := range []struct {
		t       wire.Type
		payload []byte
		want    string
	}{
		{wire.TypeBegin, nil, ""},
		{wire.TypeEnd, wire.AppendDisposition(nil, cardbroker.UnpowerCard), "end one 2"},
		{wire.TypeDisconnect, wire.AppendDisposition(nil, cardbroker.ResetCard), "disconnect one 1"},
		{wire.TypeDisconnect, wire.AppendDisposition(nil, cardbroker.ResetCard), ""},
	} {
		if got, _ := a.ask(1, step.t, 1, step.payload); got != wire.TypeDone {
			t.Errorf("the answer to %d has the type %d, want Done", step.t, got)
		}
		if step.want != "" {
			if got := <-a.deck.actions; got != step.want {
				t.Errorf("%d did %q, want %q", step.t, got, step.want)
			}
		}
	}
}

// What goes wrong at the card is told with its reason, and without what is for the log only.
func TestCardErrors(t *testing.T) {
	a := newAgent(t)
	a.watch()
	a.connect()
	tests := map[byte]struct {
		reason  cardbroker.Reason
		message string
	}{
		0x02: {cardbroker.CardMute, "the card does not answer"},
		0x03: {cardbroker.Internal, "internal error"},
		0x04: {cardbroker.Internal, "the card's response has 0 bytes"},
		0x05: {cardbroker.Internal, "the card's response has 65539 bytes"},
	}
	for ins, want := range tests {
		if e := a.wantError(1, wire.TypeAPDU, 1, []byte{0, ins, 0, 0}, want.reason); e.Message != want.message {
			t.Errorf("INS %d: message %q, want %q", ins, e.Message, want.message)
		}
	}
	if got, _ := a.ask(1, wire.TypeAPDU, 1, []byte{0, 0, 0, 0}); got != wire.TypeAPDUResponse {
		t.Errorf("an APDU after the errors: type %d, want a response", got)
	}
}

// What a reader can do besides its card: called over the same stream, and refused with its reason.
func TestReaderFunctions(t *testing.T) {
	a := newAgent(t)
	a.watch()
	a.wantError(1, wire.TypeControl, 1, wire.AppendControl(nil, 3, nil), cardbroker.CardRemoved) // not connected
	a.connect()
	if got, answer := a.ask(1, wire.TypeControl, 1, wire.AppendControl(nil, 3, []byte("it"))); got != wire.TypeControlled || string(answer) != "did it" {
		t.Errorf("the answer to Control is %d, %q, want \"did it\"", got, answer)
	}
	if got, answer := a.ask(1, wire.TypeAttribute, 1, wire.AppendAttribute(nil, 7)); got != wire.TypeValue || string(answer) != "value" {
		t.Errorf("the answer to Attribute is %d, %q, want \"value\"", got, answer)
	}
	a.wantError(1, wire.TypeControl, 1, wire.AppendControl(nil, 1, nil), cardbroker.Unsupported)
	a.wantError(1, wire.TypeControl, 1, wire.AppendControl(nil, 2, nil), cardbroker.Internal)
	a.wantError(1, wire.TypeAttribute, 1, wire.AppendAttribute(nil, 0), cardbroker.Unsupported)
}

// A call that hangs is that reader's own trouble.
func TestHangingCall(t *testing.T) {
	a := newAgent(t)
	a.watch()
	a.deal(sandbox.Event{Reader: "two", Present: true, Card: &theCard}, 2)
	a.connect()
	if err := a.streams[1].Send(wire.Header{Type: wire.TypeAPDU, Reader: 1, Seq: 100}, []byte{0, 1, 0, 0}); err != nil {
		t.Fatal(err)
	}
	a.ask(2, wire.TypeConnect, 2, wire.Connect{Share: 2}.Append(nil))
	if got, _ := a.ask(2, wire.TypeAPDU, 2, []byte{0, 0, 0, 0}); got != wire.TypeAPDUResponse {
		t.Errorf("an APDU at another reader: type %d, want a response", got)
	}
	a.streams[0].Close()
	if err := a.end(); err != nil { // it does not wait for the hanging call
		t.Errorf("Serve() = %v, want nil", err)
	}
	close(a.deck.hang)
}

func TestRemovedReader(t *testing.T) {
	a := newAgent(t)
	a.watch()
	a.connect()
	a.deal(sandbox.Event{Reader: "one"}, 1)
	a.deal(sandbox.Event{Reader: "one", Present: true, Card: &theCard}, 2)
	a.wantError(1, wire.TypeAPDU, 2, []byte{0, 0, 0, 0}, cardbroker.CardRemoved) // the card of reader 1 is connected
	a.ask(1, wire.TypeDisconnect, 1, wire.AppendDisposition(nil, cardbroker.LeaveCard))
	a.wantError(1, wire.TypeConnect, 1, wire.Connect{Share: 2}.Append(nil), cardbroker.ReaderUnknown)
	if got, _ := a.ask(1, wire.TypeConnect, 2, wire.Connect{Share: 2}.Append(nil)); got != wire.TypeConnected {
		t.Errorf("Connect to the reader's new number: type %d", got)
	}
}

// The end of the agent ends everything, and a card that it held is reset.
func TestEnd(t *testing.T) {
	for _, stream := range []int{0, 1} {
		a := newAgent(t)
		a.watch()
		a.connect()
		a.streams[stream].Close()
		if err := a.end(); err != nil {
			t.Errorf("Serve() = %v after the end of stream %d, want nil", err, stream)
		}
		select {
		case got := <-a.deck.actions:
			if got != "disconnect one 1" {
				t.Errorf("the card was left with %q, want a reset", got)
			}
		default:
			t.Error("the card was left as it was, want a reset")
		}
	}
}

func TestReadersEnd(t *testing.T) {
	a := newAgent(t)
	a.watch()
	close(a.deck.events)
	if err := a.end(); cardbroker.ReasonOf(err) != cardbroker.Unavailable {
		t.Errorf("Serve() = %v, want why the readers are gone", err)
	}
}

// Whatever is malformed is refused, and is the end.
func TestMalformed(t *testing.T) {
	tests := map[string]struct {
		stream  int
		connect bool
		h       wire.Header
		payload []byte
	}{
		"control: not a Watch":  {stream: 0, h: wire.Header{Type: wire.TypeConnect, Seq: 1}},
		"control: second Watch": {stream: 0, h: wire.Header{Type: wire.TypeWatch, Seq: 2}},
		"unknown type":          {stream: 1, h: wire.Header{Type: 99, Seq: 1}},
		"flags":                 {stream: 1, h: wire.Header{Type: wire.TypeBegin, Flags: 1}},
		"a type of the holder":  {stream: 1, connect: true, h: wire.Header{Type: wire.TypeDone, Reader: 1}},
		"Connect, share mode":   {stream: 1, h: wire.Header{Type: wire.TypeConnect, Reader: 1}, payload: []byte{0, 0, 0, 9}},
		"Connect twice":         {stream: 1, connect: true, h: wire.Header{Type: wire.TypeConnect, Reader: 1}, payload: []byte{0, 0, 0, 2}},
		"Disconnect, length":    {stream: 1, h: wire.Header{Type: wire.TypeDisconnect, Reader: 1}, payload: []byte{0}},
		"End, disposition":      {stream: 1, connect: true, h: wire.Header{Type: wire.TypeEnd, Reader: 1}, payload: []byte{0, 0, 0, 9}},
		"Control, length":       {stream: 1, connect: true, h: wire.Header{Type: wire.TypeControl, Reader: 1}, payload: []byte{0, 0, 0}},
		"Attribute, length":     {stream: 1, connect: true, h: wire.Header{Type: wire.TypeAttribute, Reader: 1}, payload: []byte{0}},
		"APDU too short":        {stream: 1, connect: true, h: wire.Header{Type: wire.TypeAPDU, Reader: 1}, payload: []byte{0, 0, 0}},
		"APDU too long":         {stream: 1, connect: true, h: wire.Header{Type: wire.TypeAPDU, Reader: 1}, payload: make([]byte, 65545)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a := newAgent(t)
			a.watch()
			if test.connect {
				a.connect()
			}
			if err := a.streams[test.stream].Send(test.h, test.payload); err != nil {
				t.Fatal(err)
			}
			h, payload, err := a.streams[test.stream].Receive()
			if test.stream > 0 {
				if e, bad := wire.ParseError(payload); err != nil || bad != nil || h.Type != wire.TypeError || e.Reason != cardbroker.Invalid {
					t.Errorf("the answer is %+v, %v, %v, want Invalid", h, e, err)
				}
				_, _, err = a.streams[test.stream].Receive()
			}
			if err != io.EOF {
				t.Errorf("Receive() = %v, want the end of the stream", err)
			}
			if err := a.end(); cardbroker.ReasonOf(err) != cardbroker.Invalid {
				t.Errorf("Serve() = %v, want Invalid", err)
			}
		})
	}
}

func TestNoAllocation(t *testing.T) {
	a := newAgent(t)
	a.watch()
	a.connect()
	cmd := slices.Repeat([]byte{0, 0, 0, 0}, 75)
	if n := testing.AllocsPerRun(100, func() { a.ask(1, wire.TypeAPDU, 1, cmd) }); n > 0 {
		t.Errorf("an APDU of 300 bytes allocates %v times, both ends, want 0", n)
	}
}

func TestInherit(t *testing.T) {
	_, err := sandbox.Inherit()
	if got := cardbroker.ReasonOf(err); got != cardbroker.Invalid && got != cardbroker.Unsupported {
		t.Errorf("Inherit() without an agent = %v, want Invalid or Unsupported", err)
	}
}
