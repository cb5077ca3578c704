// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/pinpad"
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/cardtest"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// user is asked for PINs, and answers with what the test sends him.
type user struct {
	asked chan cardend.Question
	say   chan said
	gone  chan error // what ended a question that was not answered
}

type said struct {
	pins []cardbroker.Secret
	err  error
}

func newUser() *user {
	return &user{asked: make(chan cardend.Question, 8), say: make(chan said, 8), gone: make(chan error, 8)}
}

// AskPIN implements cardend.Asker.
func (u *user) AskPIN(ctx context.Context, q cardend.Question) ([]cardbroker.Secret, error) {
	u.asked <- q
	select {
	case s := <-u.say:
		return s.pins, s.err
	case <-ctx.Done():
		u.gone <- ctx.Err()
		return nil, ctx.Err()
	}
}

// enters says what the user will enter, and returns the memory that it lies in.
func (u *user) enters(pins ...string) (memory [][]byte) {
	var s said
	for _, pin := range pins {
		memory = append(memory, []byte(pin))
		s.pins = append(s.pins, cardbroker.NewSecret(memory[len(memory)-1]))
	}
	u.say <- s
	return memory
}

// withPad returns an agent whose next tunnels have a pin pad.
func withPad(t *testing.T) (*agent, *user) {
	t.Helper()
	a, u := newAgent(t), newUser()
	a.change = func(t *cardend.Tunnel) { t.PIN, t.Asker = cardbroker.PINAgent, u }
	return a, u
}

// verifyStructure is a PIN_VERIFY_STRUCTURE as OpenSC makes it: timeout in s, 4 to 8 ASCII characters.
func verifyStructure(t testing.TB, timeout byte, command string) []byte {
	return structure(t, []byte{timeout, timeout, 0x82, 8, 0, 8, 4, 2, 0xFF, 0x09, 0x04, 0, 0, 0, 0}, command)
}

// modifyStructure is a PIN_MODIFY_STRUCTURE: both PINs, the new one twice.
func modifyStructure(t testing.TB, command string) []byte {
	return structure(t, []byte{30, 30, 0x82, 8, 0, 0, 8, 8, 4, 3, 2, 0xFF, 0x09, 0x04, 0, 1, 2, 0, 0, 0}, command)
}

func structure(t testing.TB, p []byte, text string) []byte {
	t.Helper()
	command, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return append(binary.LittleEndian.AppendUint32(p, uint32(len(command))), command...)
}

const (
	verifyTemplate = "0020008008FFFFFFFFFFFFFFFF"
	changeTemplate = "0024008010FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF"
	resetTemplate  = "002C008010FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF"
)

// verifying is the frame that asks for a PIN.
func verifying(t testing.TB) []byte {
	return wire.AppendControl(nil, pinpad.VerifyPINDirect.Code(), verifyStructure(t, 30, verifyTemplate))
}

// pad asks for a PIN and returns the status word, which is all that may be answered.
func (b *backEnd) pad(code pinpad.Tag, structure []byte) string {
	b.t.Helper()
	return hex.EncodeToString(b.ask(wire.TypeControl, wire.AppendControl(nil, code.Code(), structure), wire.TypeControlled))
}

// TestPadShows: OpenSC and others find the pin pad by its features, and only where there is one.
func TestPadShows(t *testing.T) {
	for mode, want := range map[cardbroker.PINMode]string{
		cardbroker.PINDeny:        "",
		cardbroker.PINPassthrough: "",
		cardbroker.PINAgent:       "060442330006" + "070442330007" + "0A044233000A" + "120442330012",
	} {
		a, u := withPad(t)
		a.change = func(t *cardend.Tunnel) { t.PIN, t.Asker = mode, u }
		b := a.open("alpha")
		got := b.ask(wire.TypeControl, wire.AppendControl(nil, pinpad.GetFeatureRequest, nil), wire.TypeControlled)
		if !strings.EqualFold(hex.EncodeToString(got), want) {
			t.Errorf("in mode %v the features are %X, want %s", mode, got, want)
		}
		for _, tag := range []pinpad.Tag{pinpad.VerifyPINDirect, pinpad.ModifyPINDirect, pinpad.PINProperties, pinpad.TLVProperties} {
			if want == "" {
				b.refused(wire.TypeControl, wire.AppendControl(nil, tag.Code(), verifyStructure(t, 30, verifyTemplate)), cardbroker.Forbidden)
			}
		}
		if want != "" {
			if got := b.pad(pinpad.PINProperties, nil); got != "00000200" {
				t.Errorf("the properties are %s", got)
			}
			if got := b.pad(pinpad.TLVProperties, nil); !strings.Contains(got, "060104"+"070120") {
				t.Errorf("the properties are %s, want a least and a most length in them", got)
			}
		}
		if len(u.asked) > 0 || a.reader.Executed() > 0 {
			t.Errorf("in mode %v the user was asked, or the card", mode)
		}
	}
}

// TestPadVerifies: the user is asked, the card gets the command, and the back end a status word. This card says its
// command back, and what it says does not pass.
func TestPadVerifies(t *testing.T) {
	a, u := withPad(t)
	b := a.open("alpha")
	memory := u.enters("123456")
	if got := b.pad(pinpad.VerifyPINDirect, verifyStructure(t, 30, verifyTemplate)); got != "9000" {
		t.Errorf("the answer is %s, want 9000", got)
	}
	want := cardend.Question{Action: cardend.ActionVerify, Tenant: "alpha", Reader: cardtest.ReaderName, Which: "PIN 80", Ask: []cardend.Part{cardend.PartPIN}, Min: 4, Max: 8}
	if q := <-u.asked; !reflect.DeepEqual(q, want) {
		t.Errorf("the question is %+v, want %+v", q, want)
	}
	if got := a.reader.Sent(); string(got) != "\x00\x20\x00\x80\x08123456\xFF\xFF" {
		t.Errorf("the card has seen % X", got)
	}
	if !bytes.Equal(memory[0], make([]byte, 6)) {
		t.Errorf("the PIN is still in memory: %q", memory[0])
	}
	b.refused(wire.TypeAPDU, []byte{0, 0xC0, 0, 0, 0}, cardbroker.Forbidden) // GET RESPONSE
	b.ask(wire.TypeAPDU, selectCommand, wire.TypeAPDUResponse)
	b.ask(wire.TypeAPDU, []byte{0, 0xC0, 0, 0, 0}, wire.TypeAPDUResponse)
}

func TestPadModifies(t *testing.T) {
	a, u := withPad(t)
	b := a.open("alpha")
	for _, test := range []struct {
		template string
		action   cardend.Action
		ask      cardend.Part
	}{{changeTemplate, cardend.ActionModify, cardend.PartPIN}, {resetTemplate, cardend.ActionUnblock, cardend.PartPUK}} {
		u.enters("123456", "87654321", "87654321")
		if got := b.pad(pinpad.ModifyPINDirect, modifyStructure(t, test.template)); got != "9000" {
			t.Errorf("the answer is %s, want 9000", got)
		}
		if q := <-u.asked; q.Action != test.action || !reflect.DeepEqual(q.Ask, []cardend.Part{test.ask, cardend.PartNew, cardend.PartRepeat}) {
			t.Errorf("the question is %+v", q)
		}
		if got := a.reader.Sent(); string(got[4:]) != "\x10123456\xFF\xFF87654321" {
			t.Errorf("the card has seen % X", got)
		}
	}
}

// TestPadOutcomes: a user who does not enter a PIN, or none that fits, costs the card nothing.
func TestPadOutcomes(t *testing.T) {
	canceled := said{err: cardbroker.Errorf(cardbroker.PINCanceled, "no")}
	short := func() said { return said{pins: []cardbroker.Secret{cardbroker.NewSecret([]byte("123"))}} }
	modify := func(pins ...string) (s said) {
		for _, pin := range pins {
			s.pins = append(s.pins, cardbroker.NewSecret([]byte(pin)))
		}
		return s
	}
	for _, test := range []struct {
		name    string
		code    pinpad.Tag
		says    []said
		want    string
		problem cardend.Problem // of the last question
	}{
		{"cancelled", pinpad.VerifyPINDirect, []said{canceled}, "6401", ""},
		{"timed out", pinpad.VerifyPINDirect, []said{{err: cardbroker.Errorf(cardbroker.Timeout, "nobody there")}}, "6400", ""},
		{"too short", pinpad.VerifyPINDirect, []said{short(), short(), short()}, "6403", cardend.ProblemLength},
		{"too short, then cancelled", pinpad.VerifyPINDirect, []said{short(), canceled}, "6401", cardend.ProblemLength},
		{"too long", pinpad.VerifyPINDirect, []said{modify("123456789"), modify("123456789"), modify("123456789")}, "6403", cardend.ProblemLength},
		{"different", pinpad.ModifyPINDirect, []said{modify("1234", "5678", "8765"), modify("1234", "5678", "5677"), modify("1234", "5678", "56789")}, "6402", cardend.ProblemDifferent},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, u := withPad(t)
			b := a.open("alpha")
			b.t = t
			for _, s := range test.says {
				u.say <- s
			}
			p := verifyStructure(t, 30, verifyTemplate)
			if test.code == pinpad.ModifyPINDirect {
				p = modifyStructure(t, changeTemplate)
			}
			if got := b.pad(test.code, p); got != test.want {
				t.Errorf("the answer is %s, want %s", got, test.want)
			}
			var last cardend.Question
			for n := len(test.says); n > 0; n-- {
				last = <-u.asked
			}
			if last.Problem != test.problem || len(u.asked) > 0 {
				t.Errorf("the last question is %+v, %d more; want the problem %q", last, len(u.asked), test.problem)
			}
			if n := a.reader.Executed(); n != 0 {
				t.Errorf("the card has seen %d commands", n)
			}
		})
	}
}

// TestPadAsksNobody: what is refused is refused before anybody is asked.
func TestPadAsksNobody(t *testing.T) {
	a, u := withPad(t)
	b := a.open("alpha")
	verify := func(command string) []byte {
		return wire.AppendControl(nil, pinpad.VerifyPINDirect.Code(), verifyStructure(t, 30, command))
	}
	b.refused(wire.TypeControl, verify("00D6000008FFFFFFFFFFFFFFFF"), cardbroker.Forbidden)
	b.refused(wire.TypeControl, verify("8020008008FFFFFFFFFFFFFFFF"), cardbroker.Forbidden)
	b.refused(wire.TypeControl, wire.AppendControl(nil, pinpad.VerifyPINDirect.Code(), nil), cardbroker.Invalid)
	b.refused(wire.TypeControl, wire.AppendControl(nil, pinpad.ModifyPINDirect.Code(), verifyStructure(t, 30, verifyTemplate)), cardbroker.Invalid)
	b.refused(wire.TypeAPDU, []byte("\x00\x20\x00\x80\x041234"), cardbroker.Forbidden)
	b.ask(wire.TypeAPDU, []byte{0x00, 0x20, 0x00, 0x80}, wire.TypeAPDUResponse)

	// A chain into a file, whose rest would be the PIN.
	b.ask(wire.TypeAPDU, []byte{0x10, 0xD6, 0x00, 0x00, 0x01, 0xAA}, wire.TypeAPDUResponse)
	b.refused(wire.TypeControl, verify(verifyTemplate), cardbroker.Forbidden)
	b.ask(wire.TypeAPDU, []byte{0x00, 0xD6, 0x00, 0x00, 0x01, 0xAA}, wire.TypeAPDUResponse)

	before := a.reader.Executed()
	a.reader.Remove()
	b.refused(wire.TypeControl, verify(verifyTemplate), cardbroker.CardRemoved)
	b.refused(wire.TypeConnect, wire.Connect{Share: cardbroker.ShareShared}.Append(nil), cardbroker.CardAbsent)
	b.refused(wire.TypeControl, verify(verifyTemplate), cardbroker.CardAbsent)
	if len(u.asked) > 0 || a.reader.Executed() != before {
		t.Errorf("the user was asked %d times; the card has seen %d commands more", len(u.asked), a.reader.Executed()-before)
	}

	a.change = func(t *cardend.Tunnel) { t.PIN = cardbroker.PINAgent }
	b.conn.Shutdown(nil)
	b.over("")
	a.reader.Insert()
	b = a.open("beta")
	b.refused(wire.TypeControl, verify(verifyTemplate), cardbroker.PINCanceled)
}

// TestPadPassesErrors: what is no outcome of an entry is an error.
func TestPadPassesErrors(t *testing.T) {
	a, u := withPad(t)
	b := a.open("alpha")
	for reason, want := range map[cardbroker.Reason]cardbroker.Reason{
		cardbroker.Unavailable: cardbroker.PINCanceled, // the reader is still there
		cardbroker.ReaderBusy:  cardbroker.ReaderBusy,
	} {
		u.say <- said{err: cardbroker.Errorf(reason, "it is so")}
		if e := b.refused(wire.TypeControl, verifying(t), want); !strings.Contains(e.Message, "it is so") {
			t.Errorf("%s is answered %v", reason, e)
		}
	}
	u.say <- said{err: io.ErrUnexpectedEOF}
	b.refused(wire.TypeControl, verifying(t), cardbroker.Internal)
	u.enters("1234", "5678") // one more than was asked for
	b.refused(wire.TypeControl, verifying(t), cardbroker.PINCanceled)
	if n := a.reader.Executed(); n != 0 {
		t.Errorf("the card has seen %d commands", n)
	}
}

// TestPadGivesUp: a back end does not ask until the user gives in.
func TestPadGivesUp(t *testing.T) {
	a, u := withPad(t)
	b := a.open("alpha")
	no := said{err: cardbroker.Errorf(cardbroker.PINCanceled, "no")}
	for _, s := range []said{no, no} {
		u.say <- s
		b.pad(pinpad.VerifyPINDirect, verifyStructure(t, 30, verifyTemplate))
	}
	u.enters("1234") // he does want to, after all
	b.pad(pinpad.VerifyPINDirect, verifyStructure(t, 30, verifyTemplate))
	for range 3 {
		u.say <- no
		b.pad(pinpad.VerifyPINDirect, verifyStructure(t, 30, verifyTemplate))
	}
	b.refused(wire.TypeControl, verifying(t), cardbroker.Forbidden)
	if n := len(u.asked); n != 6 {
		t.Errorf("the user was asked %d times, want 6", n)
	}
}

// TestControlList: functions of the real reader are for tenants whom policy names, and pin pads' functions for nobody.
func TestControlList(t *testing.T) {
	a := newAgent(t)
	a.change = func(t *cardend.Tunnel) { t.Control = []uint32{1, 2, 0x42330006} }
	b := a.open("alpha")
	if got := b.ask(wire.TypeControl, wire.AppendControl(nil, 1, []byte("input")), wire.TypeControlled); string(got) != "input" {
		t.Errorf("function 1 returns %q, want its input", got)
	}
	b.refused(wire.TypeControl, wire.AppendControl(nil, 2, nil), cardbroker.Unsupported)
	b.refused(wire.TypeControl, wire.AppendControl(nil, 3, nil), cardbroker.Forbidden)
	b.refused(wire.TypeControl, wire.AppendControl(nil, 0x42330006, verifyStructure(t, 30, verifyTemplate)), cardbroker.Forbidden)
	a.reader.Remove()
	b.refused(wire.TypeControl, wire.AppendControl(nil, 1, []byte("input")), cardbroker.CardRemoved)
}
