// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package wire_test

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// A codec reads one kind of payload and writes it again.
type codec struct {
	name string
	// again parses p and appends what it has read; it also returns that as a value.
	again func(p []byte) (v any, out []byte, err error)
	good  []string // payloads in full, the least and the greatest among them
	bad   []string
}

func codecs() []codec {
	const zero4 = "\x00\x00\x00\x00"
	tunnel := strings.Repeat("t", 16)
	name := strings.Repeat("n", 127)
	return []codec{
		{"Hello", func(p []byte) (any, []byte, error) {
			m, err := wire.ParseHello(p)
			return m, m.Append(nil), err
		}, []string{
			"\x00\x00\x00\x01" + zero4 + "\x00",
			"\x00\x00\x00\x02\xff\xff\xff\xff\x02",
		}, []string{"", "\x00\x00\x00\x02" + zero4, "\x00\x00\x00\x03" + zero4 + "\x00", zero4 + zero4 + "\x00", "\x00\x00\x00\x02" + zero4 + "\x03",
			"\x00\x00\x00\x02" + zero4 + "\x00\x00"}},
		{"Welcome", func(p []byte) (any, []byte, error) {
			m, err := wire.ParseWelcome(p)
			return m, m.Append(nil), err
		}, []string{
			tunnel + zero4 + zero4 + zero4 + zero4 + "\x00",
			tunnel + "\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x01\x2c\x00\x00\x00\x3c\x05token" + name,
		}, []string{"", tunnel + zero4 + zero4 + zero4 + zero4, tunnel + zero4 + zero4 + zero4 + zero4 + "\x00" + name + "n",
			tunnel + zero4 + zero4 + zero4 + zero4 + "\x02t"}},
		{"Resumed", func(p []byte) (any, []byte, error) {
			m, err := wire.ParseResumed(p)
			return m, m.Append(nil), err
		}, []string{zero4 + zero4 + zero4, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"}, []string{"", zero4 + zero4 + "\x00\x00\x00", zero4 + zero4 + zero4 + "x"}},
		{"Progress", func(p []byte) (any, []byte, error) {
			m, err := wire.ParseProgress(p)
			return m, wire.AppendProgress(nil, m), err
		}, []string{zero4, "\xff\xff\xff\xff"}, []string{"", "\x00\x00\x00", zero4 + "x"}},
		{"ReaderAdd", func(p []byte) (any, []byte, error) {
			m, err := wire.ParseReaderAdd(p)
			return m, m.Append(nil), err
		}, []string{"\x01\x00n", "\x0f\x01" + name},
			[]string{"", "\x01\x00", "\x00\x00n", "\x10\x00n", "\x01\x02n", "\x01\x00" + name + "n"}},
		{"CardIn", func(p []byte) (any, []byte, error) {
			m, err := wire.ParseCardIn(p)
			return m, m.Append(nil), err
		}, []string{zero4, "\x00\x00\x00\x02" + strings.Repeat("\x3b", 33)},
			[]string{"", "\x00\x00\x00", "\x00\x00\x00\x03", "\x00\x00\x00\x01" + strings.Repeat("\x3b", 34)}},
		{"Connect", func(p []byte) (any, []byte, error) {
			m, err := wire.ParseConnect(p)
			return m, m.Append(nil), err
		}, []string{"\x00\x00\x00\x01", "\x00\x00\x00\x03"},
			[]string{"", zero4, "\x00\x00\x00\x04", "\x00\x00\x00\x01\x00"}},
		{"Disposition", func(p []byte) (any, []byte, error) {
			d, err := wire.ParseDisposition(p)
			return d, wire.AppendDisposition(nil, d), err
		}, []string{zero4, "\x00\x00\x00\x03"},
			[]string{"", "\x00\x00\x03", "\x00\x00\x00\x04", zero4 + "\x00"}},
		{"Control", func(p []byte) (any, []byte, error) {
			code, input, err := wire.ParseControl(p)
			return input, wire.AppendControl(nil, code, input), err
		}, []string{zero4, "\x42\x00\x0d\x48", "\xff\xff\xff\xffinput"},
			[]string{"", "\x00\x00\x00"}},
		{"Attribute", func(p []byte) (any, []byte, error) {
			id, err := wire.ParseAttribute(p)
			return id, wire.AppendAttribute(nil, id), err
		}, []string{zero4, "\x00\x09\x03\x03"},
			[]string{"", "\x00\x00\x03", zero4 + "\x00"}},
		{"Lease", func(p []byte) (any, []byte, error) {
			d, err := wire.ParseLease(p)
			return d, wire.AppendLease(nil, d), err
		}, []string{zero4, "\xff\xff\xff\xff"},
			[]string{"", "\x00\x00\x00", zero4 + "\x00"}},
		{"Times", func(p []byte) (any, []byte, error) {
			m, response, err := wire.ParseTimes(p)
			return m, append(m.Append(nil), response...), err
		}, []string{zero4 + zero4 + zero4 + "\x90\x00", "\xff\xff\xff\xff\x00\x00\x00\x01\x00\x01\x00\x00data\x61\x04"},
			[]string{"", zero4 + zero4 + zero4 + "\x90"}},
		{"Error", func(p []byte) (any, []byte, error) {
			e, err := wire.ParseError(p)
			if err != nil {
				return nil, nil, err
			}
			return e, wire.AppendError(nil, e), nil
		}, []string{
			"\x00\x01r\x00",
			"\x03\x0dpin_incorrect\x08firewallthree tries are left",
			"\xff\xff" + strings.Repeat("r", 255) + "\xff" + strings.Repeat("u", 255) + strings.Repeat("m", 1024),
		}, []string{"", "\x00\x00\x00", "\x00\x02r", "\x00\x01r", "\x00\x01r\x02u", "\x00\x01r\x00" + strings.Repeat("m", 1025)}},
	}
}

func TestMessages(t *testing.T) {
	for _, c := range codecs() {
		for i, p := range c.good {
			t.Run(fmt.Sprintf("%s/good %d", c.name, i), func(t *testing.T) {
				if _, out, err := c.again([]byte(p)); err != nil || string(out) != p {
					t.Errorf("Append(Parse(%q)) = %q, %v", p, out, err)
				}
			})
		}
		for i, p := range c.bad {
			t.Run(fmt.Sprintf("%s/bad %d", c.name, i), func(t *testing.T) {
				if v, _, err := c.again([]byte(p)); cardbroker.ReasonOf(err) != cardbroker.Invalid {
					t.Errorf("Parse(%q) = %+v, %v, want %s", p, v, err, cardbroker.Invalid)
				}
			})
		}
	}
}

// FuzzMessages feeds every parser: what is read is written as it was, and what is not is Invalid.
func FuzzMessages(f *testing.F) {
	for i, c := range codecs() {
		for _, p := range append(c.good, c.bad...) {
			f.Add(byte(i), []byte(p))
		}
	}
	all := codecs()
	f.Fuzz(func(t *testing.T, which byte, p []byte) {
		c := all[int(which)%len(all)]
		_, out, err := c.again(p)
		switch {
		case err != nil && cardbroker.ReasonOf(err) != cardbroker.Invalid:
			t.Errorf("Parse%s = %v, want %s", c.name, err, cardbroker.Invalid)
		case err == nil && !bytes.Equal(out, p):
			t.Errorf("%s: % x was written again as % x", c.name, p, out)
		}
	})
}

// TestMessageValues goes the other way round: from values through bytes to values.
func TestMessageValues(t *testing.T) {
	secs := rapid.Custom(func(t *rapid.T) time.Duration {
		return time.Duration(rapid.Uint32().Draw(t, "seconds")) * time.Second
	})
	micros := rapid.Custom(func(t *rapid.T) time.Duration {
		return time.Duration(rapid.Uint32().Draw(t, "micros")) * time.Microsecond
	})
	rapid.Check(t, func(t *rapid.T) {
		welcome := wire.Welcome{Epoch: rapid.Uint64().Draw(t, "epoch"), Lease: secs.Draw(t, "lease"), Grace: secs.Draw(t, "grace"),
			Resume: cardbroker.NewSecret([]byte(rapid.StringMatching(`[a-z0-9.]{1,70}`).Draw(t, "token"))),
			Reader: rapid.StringMatching(`[ -~]{0,127}`).Draw(t, "reader")}
		if got, err := wire.ParseWelcome(welcome.Append(nil)); err != nil || !bytes.Equal(got.Append(nil), welcome.Append(nil)) ||
			got.Epoch != welcome.Epoch || got.Lease != welcome.Lease || got.Grace != welcome.Grace || got.Reader != welcome.Reader {
			t.Errorf("ParseWelcome(Append(%+v)) = %+v, %v", welcome, got, err)
		}
		times := wire.Times{Queue: micros.Draw(t, "queue"), Card: micros.Draw(t, "card"), Agent: micros.Draw(t, "agent")}
		got, response, err := wire.ParseTimes(append(times.Append(nil), 0x90, 0x00))
		if err != nil || got != times || len(response) != 2 {
			t.Errorf("ParseTimes(Append(%+v)) = %+v, % x, %v", times, got, response, err)
		}
		failure := &cardbroker.Error{Reason: cardbroker.PINIncorrect, Retries: rapid.IntRange(cardbroker.RetriesUnknown, 254).Draw(t, "retries"),
			Rule: cardbroker.RuleFirewall, Message: rapid.StringN(0, -1, 1024).Draw(t, "message")}
		if got, err := wire.ParseError(wire.AppendError(nil, failure)); err != nil || !reflect.DeepEqual(got, failure) {
			t.Errorf("ParseError(Append(%+v)) = %+v, %v", failure, got, err)
		}
	})
}

// TestErrorKeepsItsCause holds what must not leave the process.
func TestErrorKeepsItsCause(t *testing.T) {
	cause := fmt.Errorf("/home/alice/.pin: 1234")
	p := wire.AppendError(nil, cardbroker.Wrapf(cause, cardbroker.Unavailable, "cannot read"))
	if bytes.Contains(p, []byte("1234")) {
		t.Errorf("AppendError = %q, with the cause", p)
	}
	long := cardbroker.Errorf(cardbroker.Invalid, "%s", strings.Repeat("m", 2000))
	if got, err := wire.ParseError(wire.AppendError(nil, long)); err != nil || len(got.Message) != 1024 {
		t.Errorf("a message of 2000 bytes arrives as %d, %v, want 1024", len(got.Message), err)
	}
}
