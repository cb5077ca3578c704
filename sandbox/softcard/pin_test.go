// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package softcard_test

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker/apdu"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// unblock sets a new PIN by the PUK.
func (c *client) unblock(puk, pin string) apdu.StatusWord {
	c.t.Helper()
	return c.exchange(apdu.Command{INS: 0x2C, P2: 0x80, Data: padded(puk, pin)}).SW
}

// change replaces the PIN (80) or PUK (81).
func (c *client) change(reference byte, old, fresh string) apdu.StatusWord {
	c.t.Helper()
	return c.exchange(apdu.Command{INS: 0x24, P2: reference, Data: padded(old, fresh)}).SW
}

func (c *client) tries() apdu.StatusWord {
	c.t.Helper()
	return c.exchange(apdu.Command{INS: 0x20, P2: 0x80}).SW
}

// step is a command of a PIN's life and its status word.
type step struct {
	name string
	do   func(c *client) apdu.StatusWord
	want apdu.StatusWord
}

func verify(pin string, want apdu.StatusWord) step {
	return step{"VERIFY " + pin, func(c *client) apdu.StatusWord { return c.verify(pin) }, want}
}

func status(want apdu.StatusWord) step {
	return step{"VERIFY without data", (*client).tries, want}
}

func unblock(puk, pin string, want apdu.StatusWord) step {
	return step{"RESET RETRY COUNTER", func(c *client) apdu.StatusWord { return c.unblock(puk, pin) }, want}
}

func change(reference byte, old, fresh string, want apdu.StatusWord) step {
	return step{"CHANGE REFERENCE DATA", func(c *client) apdu.StatusWord { return c.change(reference, old, fresh) }, want}
}

func TestPINLife(t *testing.T) {
	tests := []struct {
		name  string
		steps []step
	}{
		{"right", []step{status(0x63C3), verify("123456", 0x9000), status(0x9000)}},
		{"wrong takes the status away", []step{verify("123456", 0x9000), verify("654321", 0x63C2), status(0x63C2)}},
		{"right brings the tries back", []step{verify("654321", 0x63C2), verify("654321", 0x63C1), verify("123456", 0x9000), verify("654321", 0x63C2)}},
		{"blocked", []step{verify("654321", 0x63C2), verify("654321", 0x63C1), verify("654321", 0x63C0), verify("123456", 0x6983), status(0x6983)}},
		{"bad format costs nothing", []step{verify("12345", 0x6A80), verify("12345A", 0x6A80), verify("12\xFF45678", 0x6A80), status(0x63C3)}},
		{"changed", []step{change(0x80, "123456", "87654321", 0x9000), status(0x9000), verify("123456", 0x63C2), verify("87654321", 0x9000)}},
		{"change with the wrong one", []step{verify("123456", 0x9000), change(0x80, "111111", "222222", 0x63C2), status(0x63C2)}},
		{"change to what is no PIN", []step{change(0x80, "123456", "12345", 0x6A80), status(0x63C3)}},
		{"change of an unknown reference", []step{change(0x82, "123456", "123457", 0x6A88)}},
		{"unblocked", []step{verify("1111111", 0x63C2), verify("1111111", 0x63C1), verify("1111111", 0x63C0),
			unblock("12345678", "222222", 0x9000), status(0x63C3), verify("222222", 0x9000)}},
		{"unblocking does not verify", []step{unblock("12345678", "222222", 0x9000), status(0x63C3)}},
		{"unblocking to what is no PIN", []step{unblock("12345678", "2", 0x6A80), verify("123456", 0x9000)}},
		{"PUK blocked", []step{unblock("0", "222222", 0x63C2), unblock("0", "222222", 0x63C1), unblock("0", "222222", 0x63C0),
			unblock("12345678", "222222", 0x6983), change(0x81, "12345678", "1", 0x6983), verify("123456", 0x9000)}},
		{"PUK changed", []step{change(0x81, "12345678", "abcdefgh", 0x9000), unblock("12345678", "222222", 0x63C2), unblock("abcdefgh", "222222", 0x9000)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newClient(t)
			for i, s := range tt.steps {
				if got := s.do(c); got != s.want {
					t.Fatalf("step %d, %s: %s, want %s", i+1, s.name, got, s.want)
				}
			}
		})
	}
}

func TestPINCommandsRefuse(t *testing.T) {
	tests := []struct{ name, command, want string }{
		{"global PIN", "00200000", "6A88"},
		{"VERIFY P1", "00200180", "6A86"},
		{"VERIFY of 7 bytes", "0020008007 31323334353637", "6A80"},
		{"CHANGE P1", "00240180", "6A86"},
		{"CHANGE of 8 bytes", "0024008008 3132333435363738", "6A80"},
		{"RESET P1", "002C0180", "6A86"},
		{"RESET of the PUK", "002C0081", "6A88"},
	}
	c := newClient(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			(&client{t, c.card}).wantSW(tt.command, tt.want)
		})
	}
	c.wantSW("00200080", "63C3")
}
