// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package apdu_test

import (
	"bytes"
	"testing"

	"github.com/cardbroker/cardbroker/apdu"
)

func TestParseResponse(t *testing.T) {
	tests := []struct {
		name string
		raw  []byte
		want string // the error; "" if the response is good
	}{
		{"status word alone", []byte{0x90, 0}, ""},
		{"data", []byte{1, 2, 3, 0x61, 5}, ""},
		{"most", make([]byte, 65538), ""},
		{"nothing", nil, "response APDU: byte 0: the length is 0, want 2 to 65538"},
		{"half a status word", []byte{0x90}, "response APDU: byte 1: the length is 1, want 2 to 65538"},
		{"too long", make([]byte, 65539), "response APDU: byte 65539: the length is 65539, want 2 to 65538"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := apdu.ParseResponse(tt.raw)
			if tt.want != "" {
				if err == nil || err.Error() != tt.want {
					t.Errorf("ParseResponse: error %v, want %s", err, tt.want)
				}
				return
			}
			if err != nil || !bytes.Equal(r.Append(nil), tt.raw) {
				t.Errorf("ParseResponse = %d bytes and %s, %v, want %d bytes", len(r.Data), r.SW, err, len(tt.raw)-2)
			}
		})
	}
}

func TestStatusWords(t *testing.T) {
	tests := []struct {
		sw   apdu.StatusWord
		text string
		want string
	}{
		{0x9000, "9000", "success"},
		{0x6101, "6101", "1 byte still available"},
		{0x6100, "6100", "256 bytes still available"},
		{0x6C10, "6C10", "wrong Le, 16 bytes available"},
		{0x63C2, "63C2", "wrong PIN, 2 tries left"},
		{0x63C1, "63C1", "wrong PIN, 1 try left"},
		{0x63C0, "63C0", "wrong PIN, 0 tries left"},
		{0x6982, "6982", "security status not satisfied"},
		{0x6983, "6983", "PIN blocked"},
		{0x6A82, "6A82", "file or application not found"},
		{0x6D00, "6D00", "instruction not supported"},
		{0x62F1, "62F1", "warning, state unchanged"},
		{0x6400, "6400", "execution error, state unchanged"},
		{0x6AFF, "6AFF", "wrong parameters"},
		{0x9101, "9101", "unknown status word"},
		{0x0000, "0000", "unknown status word"},
	}
	for _, tt := range tests {
		if got := tt.sw.String(); got != tt.text {
			t.Errorf("StatusWord(%04X).String() = %q, want %q", uint16(tt.sw), got, tt.text)
		}
		if got := tt.sw.Words(); got != tt.want {
			t.Errorf("StatusWord(%s).Words() = %q, want %q", tt.sw, got, tt.want)
		}
	}
}

func TestEveryStatusWordHasWords(t *testing.T) {
	for sw := range 0x10000 {
		if apdu.StatusWord(sw).Words() == "" {
			t.Errorf("StatusWord(%04X).Words() is empty", sw)
		}
	}
}

func TestStatusWordNumbers(t *testing.T) {
	type number func(apdu.StatusWord) (int, bool)
	tests := []struct {
		name string
		f    number
		sw   apdu.StatusWord
		n    int
		ok   bool
	}{
		{"More", apdu.StatusWord.More, 0x6120, 0x20, true},
		{"More", apdu.StatusWord.More, apdu.MoreData(256), 256, true},
		{"More", apdu.StatusWord.More, apdu.MoreData(255), 255, true},
		{"More", apdu.StatusWord.More, 0x9000, 0, false},
		{"ExpectedLe", apdu.StatusWord.ExpectedLe, 0x6C00, 256, true},
		{"ExpectedLe", apdu.StatusWord.ExpectedLe, 0x6C07, 7, true},
		{"ExpectedLe", apdu.StatusWord.ExpectedLe, 0x6107, 0, false},
		{"Retries", apdu.StatusWord.Retries, 0x63C0, 0, true},
		{"Retries", apdu.StatusWord.Retries, apdu.TriesLeft(3), 3, true},
		{"Retries", apdu.StatusWord.Retries, apdu.TriesLeft(99), 15, true},
		{"Retries", apdu.StatusWord.Retries, 0x6300, 0, false},
		{"Retries", apdu.StatusWord.Retries, 0x6983, 0, false},
	}
	for _, tt := range tests {
		n, ok := tt.f(tt.sw)
		if ok != tt.ok || ok && n != tt.n {
			t.Errorf("StatusWord(%s).%s() = %d, %v, want %d, %v", tt.sw, tt.name, n, ok, tt.n, tt.ok)
		}
	}
}

func FuzzParseResponse(f *testing.F) {
	f.Add([]byte{0x90, 0})
	f.Add([]byte{1, 2, 0x61, 0x10})
	f.Add([]byte{0x63})
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := apdu.ParseResponse(raw)
		if err != nil {
			return
		}
		if back := r.Append(nil); !bytes.Equal(back, raw) {
			t.Errorf("ParseResponse(%x), then Append = %x", raw, back)
		}
		_ = r.SW.Words()
	})
}
