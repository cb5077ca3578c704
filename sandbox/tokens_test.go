// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package sandbox_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/token"
	"github.com/cardbroker/cardbroker/sandbox"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// shelf is a module whose slots the test lists, and whose answers say what was asked.
type shelf struct {
	ids    []uint
	kept   []cardbroker.Secret // what it must not keep
	hang   chan struct{}       // not nil: a login waits for it
	closed sync.WaitGroup
}

func newShelf() *shelf {
	s := &shelf{ids: []uint{7, 3}}
	s.closed.Add(1)
	return s
}

func (s *shelf) Info() (token.Library, error) { return token.Library{Manufacturer: "shelf"}, nil }

func (s *shelf) Slots(present bool) ([]token.Slot, error) {
	var slots []token.Slot
	for _, id := range s.ids {
		slots = append(slots, token.Slot{ID: id, Description: fmt.Sprint(present)})
	}
	return slots, nil
}

func (s *shelf) Ask(slot uint, q token.Question, secrets []cardbroker.Secret) (token.Answer, error) {
	answer := token.Answer{Token: &token.Token{Label: fmt.Sprintf("%d %s", slot, q.Call)}}
	for _, secret := range secrets {
		answer.Token.Label += " " + string(secret.Reveal())
	}
	if len(secrets) > 0 { // of one slot at a time in these tests
		s.kept = append(s.kept, secrets...)
	}
	switch q.Call {
	case token.CallUnblock:
		wrong := cardbroker.Errorf(cardbroker.PINIncorrect, "wrong")
		wrong.Retries = cardbroker.RetriesUnknown
		return token.Answer{}, wrong
	case token.CallChangePIN:
		return token.Answer{}, errors.New("/opt/vendor/lib: a path")
	case token.CallObjects:
		answer.Certificates = []token.Certificate{{DER: make([]byte, 3<<20)}}
	case token.CallSign:
		answer.Certificates = []token.Certificate{{DER: make([]byte, 200<<10)}}
	case token.CallLogin:
		if s.hang != nil {
			<-s.hang
		}
	}
	return answer, nil
}

func (s *shelf) Close() error { s.closed.Done(); return nil }

func newTokens(t *testing.T) (*agent, *shelf) {
	s := newShelf()
	return converse(t, func(streams []net.Conn, log *slog.Logger) error {
		return sandbox.ServeTokens(context.Background(), streams, s, log)
	}), s
}

// call asks a question with secrets and returns the type of the answer and the answer, whole.
func (a *agent) call(stream int, question string, secrets ...string) (wire.Type, []byte) {
	a.t.Helper()
	a.seq++
	s := a.streams[stream]
	for _, secret := range secrets {
		if err := s.Send(wire.Header{Type: wire.TypeSecret, Seq: a.seq}, []byte(secret)); err != nil {
			a.t.Fatal(err)
		}
	}
	if err := wire.SendFrames(s, wire.Header{Type: wire.TypeCall, Seq: a.seq}, []byte(question)); err != nil {
		a.t.Fatal(err)
	}
	gathering := wire.Gathering{Max: token.MaxJSON}
	for {
		h, payload, err := s.Receive()
		whole := false
		if err == nil {
			h, payload, whole, err = gathering.Gather(h, payload)
		}
		if err != nil || h.Seq != a.seq {
			a.t.Fatalf("the answer is %+v, %v, want number %d", h, err, a.seq)
		}
		if whole {
			return h.Type, payload
		}
	}
}

// answers fails the test unless the question is answered, and returns the answer.
func (a *agent) answers(stream int, question string, secrets ...string) token.Answer {
	a.t.Helper()
	kind, payload := a.call(stream, question, secrets...)
	var answer token.Answer
	if kind != wire.TypeReturn || json.Unmarshal(payload, &answer) != nil {
		a.t.Fatalf("the answer to %s is of type %d: %.300q", question, kind, payload)
	}
	return answer
}

// refuses fails the test unless the question is refused so.
func (a *agent) refuses(stream int, reason cardbroker.Reason, question string, secrets ...string) *cardbroker.Error {
	a.t.Helper()
	kind, payload := a.call(stream, question, secrets...)
	e, err := wire.ParseError(payload)
	if kind != wire.TypeError || err != nil || e.Reason != reason {
		a.t.Fatalf("the answer to %.300s is of type %d: %.300q, want the reason %q", question, kind, payload, reason)
	}
	return e
}

func TestTokens(t *testing.T) {
	a, s := newTokens(t)
	if got := a.answers(0, `{"call":"info"}`).Library.Manufacturer; got != "shelf" {
		t.Errorf("info: %q", got)
	}
	streams := func(question string) (list []uint8) {
		for _, slot := range a.answers(0, question).Slots {
			list = append(list, slot.Stream)
		}
		return list
	}
	if got := streams(`{"call":"slots"}`); !bytes.Equal(got, []byte{1, 2}) {
		t.Errorf("slots 7 and 3 are on the streams %v, want 1 and 2", got)
	}
	s.ids = []uint{9, 3}
	if got := streams(`{"call":"slots","present":true}`); !bytes.Equal(got, []byte{3, 2}) {
		t.Errorf("slots 9 and 3 are on the streams %v, want 3 and 2", got)
	}
	for question, secrets := range map[string][]string{
		`{"call":"token"}`: nil, `{"call":"login"}`: {"1234"}, `{"call":"login","protected":true}`: nil,
	} {
		var q token.Question
		json.Unmarshal([]byte(question), &q)
		want := strings.Join(append([]string{"7", string(q.Call)}, secrets...), " ")
		if got := a.answers(1, question, secrets...).Token.Label; got != want {
			t.Errorf("%s is answered %q, want %q", question, got, want)
		}
	}
	const digest = `"digest":"AAAAAAAAAAAAAAAAAAAAAAAAAAA="`
	sign := `{"call":"sign","sign":{"key":"AQ==","scheme":"rsa_pss","hash":"sha1","inputs":[{` + digest + `,"data":"` +
		strings.Repeat("AAAA", 100_000) + `"}]}}`
	if got := a.answers(2, sign, "1234"); got.Token.Label != "3 sign 1234" || len(got.Certificates[0].DER) != 200<<10 {
		t.Errorf("a long question has the answer %q with %d bytes", got.Token.Label, len(got.Certificates[0].DER))
	}
	for i, secret := range s.kept {
		if len(bytes.Trim(secret.Reveal(), "\x00")) > 0 {
			t.Errorf("secret %d is %q after its question", i, secret.Reveal())
		}
	}
	a.streams[0].Close()
	if err := a.end(); err != nil {
		t.Errorf("ServeTokens() = %v", err)
	}
	s.closed.Wait()
}

func TestTokensRefuse(t *testing.T) {
	a, _ := newTokens(t)
	a.answers(0, `{"call":"slots"}`)
	a.refuses(1, cardbroker.Invalid, `{"call":"format"}`)
	a.refuses(1, cardbroker.Invalid, `{"call":"login"}`)
	a.refuses(1, cardbroker.Invalid, `{"call":"login","protected":true}`, "1234")
	a.refuses(1, cardbroker.Invalid, `{"call":"change_pin"}`, "1234")
	a.refuses(1, cardbroker.Invalid, `{"call":"token"}`, "1234")
	a.refuses(1, cardbroker.Invalid, `{"call":"sign","sign":{"key":"AQ==","scheme":"rsa_pss","hash":"sha1","inputs":[]}}`, "1234")
	if e := a.refuses(1, cardbroker.PINIncorrect, `{"call":"unblock"}`, "1234", "5678"); e.Retries != cardbroker.RetriesUnknown {
		t.Errorf("%d tries are left, want that nobody knows", e.Retries)
	}
	if e := a.refuses(1, cardbroker.Internal, `{"call":"change_pin"}`, "1234", "5678"); strings.Contains(e.Message, "vendor") {
		t.Errorf("the agent is told %q", e.Message)
	}
	a.refuses(1, cardbroker.TooLarge, `{"call":"objects"}`)
	a.answers(1, `{"call":"token"}`)
	a.streams[0].Close()
	a.end()
	if !strings.Contains(a.log.String(), "/opt/vendor/lib") || strings.Contains(a.log.String(), "1234") {
		t.Errorf("the log says %s", a.log.String())
	}
}

// TestTokensEnd: whoever does not keep to the protocol ends the conversation.
func TestTokensEnd(t *testing.T) {
	type frame struct {
		stream  int
		head    wire.Header
		payload string
	}
	call := func(stream int, payload string) frame {
		return frame{stream, wire.Header{Type: wire.TypeCall, Seq: 9}, payload}
	}
	secret := func(seq uint64, payload string) frame {
		return frame{1, wire.Header{Type: wire.TypeSecret, Seq: seq}, payload}
	}
	tests := map[string][]frame{
		"no JSON":                   {call(1, "call")},
		"an unknown field":          {call(1, `{"call":"token","path":"/"}`)},
		"a slot's question at 0":    {call(0, `{"call":"token"}`)},
		"the module's question":     {call(1, `{"call":"info"}`)},
		"slots at a slot":           {call(1, `{"call":"slots"}`)},
		"no number":                 {{1, wire.Header{Type: wire.TypeCall}, `{"call":"token"}`}},
		"another frame":             {{1, wire.Header{Type: wire.TypeBegin, Seq: 9}, ""}},
		"an empty secret":           {secret(9, "")},
		"a long secret":             {secret(9, strings.Repeat("1", 256))},
		"three secrets":             {secret(9, "1"), secret(9, "2"), secret(9, "3")},
		"a secret of another":       {secret(8, "1"), call(1, `{"call":"login"}`)},
		"a secret in a question":    {{1, wire.Header{Type: wire.TypeCall, Flags: wire.FlagMore, Seq: 9}, "{"}, secret(9, "1")},
		"a question that goes on":   {{1, wire.Header{Type: wire.TypeCall, Flags: wire.FlagMore, Seq: 9}, "{"}, {1, wire.Header{Type: wire.TypeCall, Seq: 8}, "}"}},
		"a script for the watching": {{0, wire.Header{Type: wire.TypeWatch, Seq: 9}, ""}},
	}
	for name, frames := range tests {
		t.Run(name, func(t *testing.T) {
			a, _ := newTokens(t)
			a.answers(0, `{"call":"slots"}`)
			for _, f := range frames {
				if err := a.streams[f.stream].Send(f.head, []byte(f.payload)); err != nil {
					t.Fatal(err)
				}
			}
			if _, payload, err := a.streams[frames[0].stream].Receive(); err == nil {
				if e, err := wire.ParseError(payload); err != nil || e.Reason != cardbroker.Invalid {
					t.Errorf("it is answered %v, %v", e, err)
				}
			}
			if err := a.end(); cardbroker.ReasonOf(err) != cardbroker.Invalid {
				t.Errorf("ServeTokens() = %v, want the reason %q", err, cardbroker.Invalid)
			}
		})
	}
}

// TestTokensHang: a call that does not return is waited for half a second, and the module is not closed under it.
func TestTokensHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, s := newTokens(t)
		s.hang = make(chan struct{})
		a.answers(0, `{"call":"slots"}`)
		a.streams[1].Send(wire.Header{Type: wire.TypeSecret, Seq: 9}, []byte("1234"))
		a.streams[1].Send(wire.Header{Type: wire.TypeCall, Seq: 9}, []byte(`{"call":"login"}`))
		synctest.Wait()
		a.answers(2, `{"call":"token"}`)
		a.streams[0].Close()
		if err := a.end(); err != nil {
			t.Errorf("ServeTokens() = %v", err)
		}
		close(s.hang)
		synctest.Wait()
		s.closed.Done() // panics if it was closed
	})
}
