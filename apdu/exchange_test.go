// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package apdu_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/cardbroker/cardbroker/apdu"
)

func TestChain(t *testing.T) {
	data := bytes.Repeat([]byte{1, 2, 3, 4, 5}, 100)
	tests := []struct {
		name string
		cla  byte
		n    int // bytes of data
		size int
		want []string
	}{
		{"no data", 0x00, 0, 255, []string{"00870711 Lc 0 Le 256"}},
		{"fits", 0x00, 255, 255, []string{"00870711 Lc 255 Le 256"}},
		{"two", 0x00, 256, 255, []string{"10870711 Lc 255 Le 0", "00870711 Lc 1 Le 256"}},
		{"three on channel 2", 0x02, 500, 200, []string{"12870711 Lc 200 Le 0", "12870711 Lc 200 Le 0", "02870711 Lc 100 Le 256"}},
		{"further interindustry class", 0x45, 300, 255, []string{"55870711 Lc 255 Le 0", "45870711 Lc 45 Le 256"}},
		{"a size that is none", 0x00, 256, 0, []string{"10870711 Lc 255 Le 0", "00870711 Lc 1 Le 256"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			var joined []byte
			for _, c := range apdu.Chain(apdu.Command{CLA: tt.cla, INS: 0x87, P1: 7, P2: 0x11, Data: data[:tt.n], Le: 256}, tt.size) {
				got = append(got, c.String())
				joined = append(joined, c.Data...)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("Chain = %q, want %q", got, tt.want)
			}
			if !bytes.Equal(joined, data[:tt.n]) {
				t.Errorf("Chain: the parts hold %d bytes other than the data", len(joined))
			}
		})
	}
}

// script is a card that expects given commands and gives given answers, alternately.
func script(t *testing.T, steps ...string) func([]byte) ([]byte, error) {
	t.Cleanup(func() {
		if len(steps) > 0 {
			t.Errorf("the command %s was not sent", steps[0])
		}
	})
	return func(command []byte) ([]byte, error) {
		t.Helper()
		if len(steps) == 0 {
			t.Fatalf("command %X after the last one", command)
		}
		if want := unhex(t, steps[0]); !bytes.Equal(command, want) {
			t.Fatalf("command %X, want %X", command, want)
		}
		answer := unhex(t, steps[1])
		steps = steps[2:]
		return answer, nil
	}
}

func TestExchange(t *testing.T) {
	block := string(bytes.Repeat([]byte("AB"), 255))
	tests := []struct {
		name  string
		c     apdu.Command
		steps []string
		want  string
	}{
		{"plain", apdu.Command{INS: 0xB0, Le: 256}, []string{"00B0000000", "01029000"}, "01029000"},
		{"refused", apdu.Command{INS: 0xB0, Le: 256}, []string{"00B0000000", "6982"}, "6982"},
		{"more, twice", apdu.Command{INS: 0xB0, Le: 256},
			[]string{"00B0000000", "016102", "00C0000002", "02036101", "00C0000001", "049000"}, "010203049000"},
		{"more, 256", apdu.Command{INS: 0xB0, Le: 256}, []string{"00B0000000", "6100", "00C0000000", "019000"}, "019000"},
		{"more, then an error", apdu.Command{INS: 0xB0, Le: 256}, []string{"00B0000000", "016102", "00C0000002", "6F00"}, "016F00"},
		{"wrong Le", apdu.Command{INS: 0xB0, Le: 256}, []string{"00B0000000", "6C02", "00B0000002", "01029000"}, "01029000"},
		{"wrong Le once only", apdu.Command{INS: 0xB0, Le: 256}, []string{"00B0000000", "6C02", "00B0000002", "6C03"}, "6C03"},
		{"wrong Le of GET RESPONSE", apdu.Command{INS: 0xB0},
			[]string{"00B00000", "6105", "00C0000005", "6C02", "00C0000002", "01029000"}, "01029000"},
		{"channel of two bits", apdu.Command{CLA: 0x0F, INS: 0xB0}, []string{"0FB00000", "6101", "03C0000001", "079000"}, "079000"},
		{"channel of four bits", apdu.Command{CLA: 0x65, INS: 0xB0}, []string{"65B00000", "6101", "45C0000001", "079000"}, "079000"},
		{"proprietary class", apdu.Command{CLA: 0x84, INS: 0xF2}, []string{"84F20000", "6101", "00C0000001", "079000"}, "079000"},
		{"chain", apdu.Command{INS: 0x87, Data: unhex(t, block+"CD"), Le: 256},
			[]string{"10870000FF" + block, "9000", "0087000001CD00", "AA6101", "00C0000001", "BB9000"}, "AABB9000"},
		{"chain refused", apdu.Command{INS: 0x87, Data: unhex(t, block+"CD"), Le: 256}, []string{"10870000FF" + block, "6884"}, "6884"},
		{"extended", apdu.Command{INS: 0x87, Data: unhex(t, block+"CD"), Le: 65536, Extended: true},
			[]string{"00870000000100" + block + "CD0000", "AA9000"}, "AA9000"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := apdu.Exchange(script(t, tt.steps...), tt.c)
			if got := fmt.Sprintf("%X", r.Append(nil)); err != nil || got != tt.want {
				t.Errorf("Exchange = %s, %v, want %s", got, err, tt.want)
			}
		})
	}
}

func TestExchangeFails(t *testing.T) {
	gone := errors.New("gone")
	constant := func(answer []byte) func([]byte) ([]byte, error) {
		return func([]byte) ([]byte, error) { return answer, nil }
	}
	tests := []struct {
		name     string
		transmit func([]byte) ([]byte, error)
		c        apdu.Command
		want     string
	}{
		{"transmit", func([]byte) ([]byte, error) { return nil, gone }, apdu.Command{}, "gone"},
		{"no response", constant([]byte{0x90}), apdu.Command{}, "response APDU: byte 1: the length is 1, want 2 to 65538"},
		{"bad Le", nil, apdu.Command{Le: 257}, "command APDU: byte 4: Le is 257, want 0 to 256"},
		{"bad Le of a chain", nil, apdu.Command{Data: make([]byte, 300), Le: 257}, "command APDU: byte 49: Le is 257, want 0 to 256"},
		{"more, and never anything", constant([]byte{0x61, 0}), apdu.Command{}, "the card says again and again that more data are available"},
		{"more than 64 KiB", constant(append(make([]byte, 256), 0x61, 0)), apdu.Command{}, "the card answers more than 65536 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := apdu.Exchange(tt.transmit, tt.c)
			if err == nil || err.Error() != tt.want {
				t.Errorf("Exchange = %d bytes, %v, want the error %s", len(r.Data), err, tt.want)
			}
		})
	}
}

// FuzzExchange lets the fuzzer be the card. The answer keeps its bound, every command is well formed, and no more are
// sent than the chain and the rounds allow.
func FuzzExchange(f *testing.F) {
	f.Add([]byte{}, 300, []byte{0x02, 0x90, 0x00})
	f.Add([]byte{0x00, 0xB0, 0, 0, 0}, 0, []byte{0x03, 1, 0x61, 2, 0x04, 2, 3, 0x90, 0})
	f.Add([]byte{0x45, 0xB0, 0, 0, 0}, 10, []byte{0x02, 0x6C, 2, 0x04, 2, 3, 0x90, 0})
	f.Fuzz(func(t *testing.T, raw []byte, n int, answers []byte) {
		c, err := apdu.ParseCommand(raw)
		if err != nil {
			c = apdu.Command{INS: 0x87, Le: 256}
		}
		if n > 0 && n < 4096 {
			c.Data = make([]byte, n)
		}
		sent := 0
		r, err := apdu.Exchange(func(command []byte) ([]byte, error) {
			sent++
			if _, err := apdu.ParseCommand(command); err != nil {
				t.Fatalf("sent %X: %v", command, err)
			}
			if len(answers) == 0 {
				return nil, errors.New("the card is gone")
			}
			size := min(int(answers[0]), len(answers)-1)
			answer := answers[1 : 1+size]
			answers = answers[1+size:]
			return answer, nil
		}, c)
		if err == nil && len(r.Data) > apdu.MaxLe {
			t.Errorf("Exchange = %d bytes", len(r.Data))
		}
		if most := len(c.Data)/apdu.MaxShort + 512; sent > most {
			t.Errorf("Exchange sent %d commands, want at most %d", sent, most)
		}
	})
}
