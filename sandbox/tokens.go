// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/token"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// Tokens is a PKCS#11 module. Its methods may be called from several goroutines, but Ask for one slot by one at a time.
type Tokens interface {
	// Info says what library it is.
	Info() (token.Library, error)

	// Slots looks for slots, or for those with a token only. It leaves Stream alone.
	Slots(present bool) ([]token.Slot, error)

	// Ask does what a checked question asks of the slot, with as many secrets as it may have. It keeps none of them: they are
	// overwritten when it returns. Nobody is logged in to the token then.
	Ask(slot uint, q token.Question, secrets []cardbroker.Secret) (token.Answer, error)

	// Close finalises the module, which is not used afterwards.
	Close() error
}

// tokenServer is one conversation with the agent about a module.
type tokenServer struct {
	*conversation
	tokens Tokens
	log    *slog.Logger
	slots  []uint // that have a stream: slot i the stream i+1; owned by who serves stream 0
}

// ServeTokens answers what the agent asks of a module over the streams, [wire.Streams] of them, until the agent ends the first (nil),
// ctx ends (nil) or the agent breaks the protocol (Invalid). It closes the streams and the module. Calls to the module that still
// run, or its end, are waited for half a second: the process must end after ServeTokens.
func ServeTokens(ctx context.Context, streams []net.Conn, tokens Tokens, log *slog.Logger) error {
	s := &tokenServer{conversation: newConversation(streams), tokens: tokens, log: log}
	s.work((&answerer{server: s, stream: wire.NewStream(streams[0]), ask: s.control}).run)
	all, err := s.finish(ctx, func() {})
	if all { // else a call may still need what the module's end takes away
		s.work(tokens.Close)
		s.await(endLimit)
	}
	return err
}

// control answers what is asked of the module itself.
func (s *tokenServer) control(q token.Question, _ []cardbroker.Secret) (token.Answer, error) {
	switch q.Call {
	case token.CallInfo:
		library, err := s.tokens.Info()
		return token.Answer{Library: &library}, err
	case token.CallSlots:
		slots, err := s.tokens.Slots(q.Present)
		for i := range slots {
			slots[i].Stream = s.streamOf(slots[i].ID)
		}
		return token.Answer{Slots: slots}, err
	}
	return token.Answer{}, errMalformed{cardbroker.Errorf(cardbroker.Invalid, "%s is asked of a slot, not of the module", q.Call)}
}

// streamOf returns the stream of a slot, which keeps it for the life of the process; 0: there are no more.
func (s *tokenServer) streamOf(slot uint) uint8 {
	for i, has := range s.slots {
		if has == slot {
			return uint8(i + 1)
		}
	}
	n := len(s.slots) + 1
	if n == len(s.conns) {
		return 0
	}
	s.slots = append(s.slots, slot)
	s.work((&answerer{server: s, stream: wire.NewStream(s.conns[n]), ask: func(q token.Question, secrets []cardbroker.Secret) (token.Answer, error) {
		if q.Call == token.CallInfo || q.Call == token.CallSlots {
			return token.Answer{}, errMalformed{cardbroker.Errorf(cardbroker.Invalid, "%s is asked of the module, not of a slot", q.Call)}
		}
		return s.tokens.Ask(slot, q, secrets)
	}}).run)
	return uint8(n)
}

// answerer serves one stream: it reads a question and the secrets before it, has it answered, and only then reads the next.
type answerer struct {
	server  *tokenServer
	stream  *wire.Stream
	ask     func(token.Question, []cardbroker.Secret) (token.Answer, error)
	secrets [][]byte // of the next question
	seq     uint64   // the next question's, if it has secrets
}

// run serves until the stream ends (nil) or the agent breaks the protocol (Invalid).
func (a *answerer) run() error {
	defer a.forget()
	gathering := wire.Gathering{Max: token.MaxJSON}
	for {
		h, payload, err := a.stream.Receive()
		whole := false
		if err == nil {
			h, payload, whole, err = gathering.Gather(h, payload)
		}
		if err == nil && !whole {
			continue
		}
		if err == nil {
			err = a.take(h, payload)
		}
		if regular(err) == nil && err != nil {
			return nil
		}
		if err != nil {
			a.refuse(h, err)
			return err
		}
	}
}

// take does what a frame asks. It returns an error only where the conversation ends by it.
func (a *answerer) take(h wire.Header, payload []byte) error {
	last := len(a.secrets) > 0
	switch {
	case h.Seq == 0, last && h.Seq != a.seq:
		return cardbroker.Errorf(cardbroker.Invalid, "a frame of type %d with seq %d where a question is due", h.Type, h.Seq)
	case h.Type == wire.TypeSecret && len(payload) > 0 && len(payload) <= token.MaxSecret && len(a.secrets) < maxSecrets:
		a.secrets, a.seq = append(a.secrets, bytes.Clone(payload)), h.Seq
		return nil
	case h.Type != wire.TypeCall:
		return cardbroker.Errorf(cardbroker.Invalid, "a frame of type %d with %d bytes where a question is due", h.Type, len(payload))
	}
	answer, err := a.answer(payload)
	if bad, ok := err.(errMalformed); ok {
		return bad.error
	}
	if err != nil {
		return a.refuse(h, err)
	}
	return wire.SendFrames(a.stream, wire.Header{Type: wire.TypeReturn, Reader: h.Reader, Seq: h.Seq}, answer)
}

// maxSecrets is how many secrets a question may have.
const maxSecrets = 2

// answer asks the question with the secrets that have come for it, and overwrites them.
func (a *answerer) answer(question []byte) ([]byte, error) {
	defer a.forget()
	var q token.Question
	decoder := json.NewDecoder(bytes.NewReader(question))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&q); err != nil {
		return nil, errMalformed{cardbroker.Wrapf(err, cardbroker.Invalid, "a question is malformed")}
	}
	if err := q.Check(); err != nil {
		return nil, err
	}
	if least, most := q.Secrets(); len(a.secrets) < least || len(a.secrets) > most {
		return nil, cardbroker.Errorf(cardbroker.Invalid, "%s has %d secrets, want %d to %d", q.Call, len(a.secrets), least, most)
	}
	secrets := make([]cardbroker.Secret, len(a.secrets))
	for i, s := range a.secrets {
		secrets[i] = cardbroker.NewSecret(s)
	}
	answer, err := a.ask(q, secrets)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(answer)
	if err == nil && len(text) > token.MaxJSON {
		err = cardbroker.Errorf(cardbroker.TooLarge, "the answer has %d bytes, the limit is %d", len(text), token.MaxJSON)
	}
	return text, err
}

// forget overwrites the secrets.
func (a *answerer) forget() {
	for _, s := range a.secrets {
		clear(s)
	}
	a.secrets = nil
}

// refuse answers with an error.
func (a *answerer) refuse(h wire.Header, err error) error {
	payload := appendRefusal(nil, "cannot answer about a token", err, a.server.log)
	return a.stream.Send(wire.Header{Type: wire.TypeError, Reader: h.Reader, Seq: h.Seq}, payload)
}
