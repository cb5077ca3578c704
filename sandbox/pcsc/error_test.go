// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcsc

import (
	"errors"
	"testing"

	"github.com/cardbroker/cardbroker"
)

// TestExplain names what every number of PC/SC means for the asker, once by once.
func TestExplain(t *testing.T) {
	tests := []struct {
		name                      string
		code                      uint32
		opening, holding, sending cardbroker.Reason
	}{
		{"F_INTERNAL_ERROR", 0x80100001, "internal", "internal", "indeterminate"},
		{"E_CANCELLED", 0x80100002, "canceled", "canceled", "indeterminate"},
		{"E_INVALID_HANDLE", 0x80100003, "unavailable", "card_removed", "card_removed"},
		{"E_INVALID_PARAMETER", 0x80100004, "invalid", "invalid", "invalid"},
		{"E_INVALID_TARGET", 0x80100005, "internal", "internal", "indeterminate"},
		{"E_NO_MEMORY", 0x80100006, "overloaded", "overloaded", "indeterminate"},
		{"F_WAITED_TOO_LONG", 0x80100007, "timeout", "timeout", "indeterminate"},
		{"E_INSUFFICIENT_BUFFER", 0x80100008, "internal", "internal", "indeterminate"},
		{"E_UNKNOWN_READER", 0x80100009, "reader_unknown", "card_removed", "card_removed"},
		{"E_TIMEOUT", 0x8010000A, "timeout", "timeout", "indeterminate"},
		{"E_SHARING_VIOLATION", 0x8010000B, "reader_busy", "reader_busy", "reader_busy"},
		{"E_NO_SMARTCARD", 0x8010000C, "card_absent", "card_removed", "indeterminate"},
		{"E_UNKNOWN_CARD", 0x8010000D, "unsupported", "unsupported", "indeterminate"},
		{"E_CANT_DISPOSE", 0x8010000E, "unsupported", "unsupported", "indeterminate"},
		{"E_PROTO_MISMATCH", 0x8010000F, "unsupported", "unsupported", "unsupported"},
		{"E_NOT_READY", 0x80100010, "reader_busy", "reader_busy", "reader_busy"},
		{"E_INVALID_VALUE", 0x80100011, "invalid", "invalid", "invalid"},
		{"E_SYSTEM_CANCELLED", 0x80100012, "unavailable", "unavailable", "indeterminate"},
		{"F_COMM_ERROR", 0x80100013, "unavailable", "unavailable", "indeterminate"},
		{"F_UNKNOWN_ERROR", 0x80100014, "internal", "internal", "indeterminate"},
		{"E_INVALID_ATR", 0x80100015, "card_mute", "card_mute", "indeterminate"},
		{"E_NOT_TRANSACTED", 0x80100016, "card_mute", "card_mute", "indeterminate"},
		{"E_READER_UNAVAILABLE", 0x80100017, "reader_unknown", "card_removed", "indeterminate"},
		{"P_SHUTDOWN", 0x80100018, "unavailable", "unavailable", "indeterminate"},
		{"E_PCI_TOO_SMALL", 0x80100019, "internal", "internal", "indeterminate"},
		{"E_READER_UNSUPPORTED", 0x8010001A, "unsupported", "unsupported", "indeterminate"},
		{"E_DUPLICATE_READER", 0x8010001B, "internal", "internal", "indeterminate"},
		{"E_CARD_UNSUPPORTED", 0x8010001C, "unsupported", "unsupported", "indeterminate"},
		{"E_NO_SERVICE", 0x8010001D, "unavailable", "unavailable", "indeterminate"},
		{"E_SERVICE_STOPPED", 0x8010001E, "unavailable", "unavailable", "indeterminate"},
		{"E_UNSUPPORTED_FEATURE", codeUnsupported, "unsupported", "unsupported", "indeterminate"},
		{"E_NO_ACCESS", 0x80100027, "forbidden", "forbidden", "forbidden"},
		{"E_NO_READERS_AVAILABLE", 0x8010002E, "reader_unknown", "card_removed", "indeterminate"},
		{"E_COMM_DATA_LOST", 0x8010002F, "card_mute", "card_mute", "indeterminate"},
		{"E_SERVER_TOO_BUSY", 0x80100031, "overloaded", "overloaded", "indeterminate"},
		{"W_UNSUPPORTED_CARD", 0x80100065, "unsupported", "unsupported", "indeterminate"},
		{"W_UNRESPONSIVE_CARD", 0x80100066, "card_mute", "card_mute", "indeterminate"},
		{"W_UNPOWERED_CARD", 0x80100067, "card_mute", "card_mute", "card_mute"},
		{"W_RESET_CARD", 0x80100068, "card_reset", "card_reset", "card_reset"},
		{"W_REMOVED_CARD", 0x80100069, "card_removed", "card_removed", "card_removed"},
		{"W_SECURITY_VIOLATION", 0x8010006A, "forbidden", "unavailable", "indeterminate"},
		{"W_CANCELLED_BY_USER", 0x8010006E, "canceled", "canceled", "indeterminate"},
		{"a number that nobody knows", 0x1234, "internal", "internal", "indeterminate"},
	}
	tested := make(map[uint32]bool)
	for _, test := range tests {
		tested[test.code] = true
		cause := errors.New("what the library says")
		for at, want := range map[stage]cardbroker.Reason{opening: test.opening, holding: test.holding, sending: test.sending} {
			err := explain(cause, test.code, at)
			known, ok := errors.AsType[*cardbroker.Error](err)
			if !ok || known.Reason != want {
				t.Errorf("explain(%s, %d) = %v, want the reason %q", test.name, at, err, want)
				continue
			}
			if known.Message == "" || !errors.Is(err, cause) {
				t.Errorf("explain(%s, %d) = %v, want a message, and the cause behind it", test.name, at, err)
			}
		}
	}
	rows := make(map[uint32]bool)
	for _, m := range meanings() {
		if rows[m.code] {
			t.Errorf("%08X has two rows", m.code)
		}
		rows[m.code] = true
		if m.code >= 0x80100000 && !tested[m.code] {
			t.Errorf("%08X is in the table, and not in the test", m.code)
		}
	}
}

// TestLost names the numbers after which a context is given up.
func TestLost(t *testing.T) {
	for code := range uint32(0x80) {
		code += 0x80100000
		want := false
		switch code {
		case 0x80100003, 0x80100012, 0x80100013, 0x80100018, 0x8010001D, 0x8010001E, 0x8010006A:
			want = true
		}
		if got := isLost(code); got != want {
			t.Errorf("isLost(%08X) = %v, want %v", code, got, want)
		}
	}
}

func TestProtocolOf(t *testing.T) {
	tests := []struct {
		name, atr string
		want      cardbroker.Protocol
	}{
		{"no TD1", "\x3B\x02\x14\x50", cardbroker.ProtocolT0},
		{"T=0 and T=1", "\x3B\x80\x80\x01\x01", cardbroker.ProtocolT1},
		{"T=1 alone", "\x3B\x80\x01\x81", cardbroker.ProtocolT1},
		{"T=0 alone", "\x3B\x80\x00", cardbroker.ProtocolT0},
		{"specific mode, T=0 of both", "\x3B\x80\x90\x00\x01\x11", cardbroker.ProtocolT0},
		{"specific mode, T=1 of both", "\x3B\x80\x90\x01\x01\x10", cardbroker.ProtocolT1},
		{"cut off", "\x3B\x80\x90\x00", cardbroker.ProtocolUndefined},
		{"none", "", cardbroker.ProtocolUndefined},
		{"no ATR", "\x00\x00", cardbroker.ProtocolUndefined},
	}
	for _, test := range tests {
		if got := protocolOf([]byte(test.atr)); got != test.want {
			t.Errorf("%s: protocolOf(%x) = %v, want %v", test.name, test.atr, got, test.want)
		}
	}
}
