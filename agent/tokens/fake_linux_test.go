// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package tokens_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/token"
	"github.com/cardbroker/cardbroker/sandbox"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// TestMain makes the test program its own sandbox: started as cardsandbox is, it serves a fake module.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "pkcs11" {
		syscall.Exit(fake()) // at once: the race detector makes os.Exit take a second
	}
	os.Exit(m.Run())
}

// What the fake does with a signature is the name of its key; its answer is the digests.
const (
	keyGood = "good"
	keyHang = "hang" // until the process ends
	keySlow = "slow" // until somebody removes the file that FAKE_GATE names, which it makes
	keyExit = "exit" // the process exits with status 7
	keyLong = "long" // the answer takes many frames
)

// fake is the child's main function. FAKE says how it misbehaves.
func fake() int {
	streams, err := sandbox.Inherit()
	if err != nil {
		fmt.Fprintln(os.Stderr, "fake:", err)
		return 3
	}
	switch how := os.Getenv("FAKE"); how {
	case "":
		err = sandbox.ServeTokens(context.Background(), streams, fakeTokens{}, slog.Default())
	case "crash":
		err = fmt.Errorf("no such \x1b[2Jsymbol")
	case "environment":
		err = fmt.Errorf("environment %q", os.Environ())
	case "silent":
		select {}
	default:
		err = lie(streams, how)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "fake:", err)
		return 3
	}
	return 0
}

// lie answers what it is asked by breaking the protocol once, in the way that how names, and does not end by itself.
func lie(streams []net.Conn, how string) error {
	control, first := wire.NewStream(streams[0]), wire.NewStream(streams[1])
	info := `{"library":{"cryptoki":"2.40","manufacturer":"","description":"","version":"","flags":0}}`
	slot := `{"id":7,"stream":1,"description":"fake","manufacturer":"","flags":0,"hardware":"","firmware":""}`
	list := `{"slots":[` + slot + `]}`
	switch how {
	case "info without a library":
		info = "{}"
	case "info that is no JSON":
		info = "{"
	case "unknown field":
		info = `{"pin":"1234"}`
	case "stream twice":
		list = `{"slots":[` + slot + "," + slot + `]}`
	case "stream that is not there":
		list = strings.ReplaceAll(list, `"stream":1`, `"stream":16`)
	}
	for _, text := range []string{info, list} {
		h, _, err := control.Receive()
		if err != nil {
			return nil
		}
		if how == "garbage" {
			streams[0].Write([]byte("\x00\x00\x00\x18this is no frame, not at all"))
		}
		control.Send(wire.Header{Type: wire.TypeReturn, Seq: h.Seq}, []byte(text))
	}
	h, _, err := first.Receive()
	for err == nil && h.Type != wire.TypeCall {
		h, _, err = first.Receive()
	}
	if err != nil {
		return nil
	}
	answer := wire.Header{Type: wire.TypeReturn, Seq: h.Seq}
	switch how {
	case "number of an answer":
		answer.Seq++
	case "type of an answer":
		answer.Type = wire.TypeLease
	case "end of a stream":
		return nil
	case "error without a reason":
		first.Send(wire.Header{Type: wire.TypeError, Seq: h.Seq}, nil)
	case "answer without an end":
		answer.Flags = wire.FlagMore
		for part := make([]byte, wire.MaxPayload); first.Send(answer, part) == nil; {
		}
	}
	first.Send(answer, []byte("{}"))
	select {}
}

// fakeTokens has two slots with a token, and one without.
type fakeTokens struct{}

func (fakeTokens) Info() (token.Library, error) { return token.Library{Cryptoki: "2.40"}, nil }
func (fakeTokens) Close() error                 { return nil }

func (fakeTokens) Slots(present bool) ([]token.Slot, error) {
	slots := []token.Slot{
		{ID: 1, Description: "fake 0", Token: &token.Token{Label: "zero", Serial: "A"}},
		{ID: 2, Description: "fake 1", Token: &token.Token{Label: "one", Serial: "B"}},
		{ID: 3, Description: "fake 2"},
	}
	if os.Getenv("FAKE_SWAPPED") != "" {
		slots[0].Token, slots[1].Token = slots[1].Token, slots[0].Token
	}
	if present {
		slots = slots[:2]
	}
	return slots, nil
}

func (fakeTokens) Ask(slot uint, q token.Question, secrets []cardbroker.Secret) (token.Answer, error) {
	for _, s := range secrets {
		if !bytes.HasPrefix(s.Reveal(), []byte("1234")) {
			return token.Answer{}, &cardbroker.Error{Reason: cardbroker.PINIncorrect, Retries: 2}
		}
	}
	if q.Call == token.CallToken {
		return token.Answer{Token: &token.Token{Model: fmt.Sprint("in slot ", slot)}}, nil
	}
	if q.Sign == nil {
		return token.Answer{}, nil
	}
	var a token.Answer
	for _, in := range q.Sign.Inputs {
		a.Signatures = append(a.Signatures, in.Digest)
	}
	switch string(q.Sign.Key) {
	case keyHang:
		select {}
	case keyExit:
		fmt.Fprintln(os.Stderr, "the vendor's last words")
		syscall.Exit(7)
	case keySlow:
		return a, slow(os.Getenv("FAKE_GATE"))
	case keyLong:
		a.Signatures = append(a.Signatures, make([]byte, 1<<20))
	}
	return a, nil
}

// slow says that it has begun, by a byte in a named pipe, and waits for one from another.
func slow(gate string) error {
	begun, err := os.OpenFile(gate+".begun", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	begun.Write([]byte{1})
	begun.Close()
	open, err := os.Open(gate + ".open")
	if err != nil {
		return err
	}
	defer open.Close()
	_, err = io.ReadFull(open, make([]byte, 1))
	return err
}
