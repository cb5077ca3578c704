// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardbroker_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
)

func TestParsePorts(t *testing.T) {
	tests := []struct {
		text string
		want cardbroker.Ports // nil: Invalid
	}{
		{"7", cardbroker.Ports{7}},
		{"7-9", cardbroker.Ports{7, 8, 9}},
		{"7-7", cardbroker.Ports{7}},
		{"9,7", cardbroker.Ports{7, 9}},
		{"7-9,8-10,8", cardbroker.Ports{7, 8, 9, 10}},
		{" 7 , 9-10", cardbroker.Ports{7, 9, 10}},
		{"65534-65535", cardbroker.Ports{65534, 65535}},
		{"", nil},
		{",", nil},
		{"7,", nil},
		{"0", nil},
		{"0-5", nil},
		{"65536", nil},
		{"9-7", nil},
		{"7-", nil},
		{"-7", nil},
		{"7-8-9", nil},
		{"+7", nil},
		{"0x7", nil},
		{"7 - 9", nil},
		{"http", nil},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			got, err := cardbroker.ParsePorts(tt.text)
			if tt.want == nil {
				wantInvalid(t, fmt.Sprintf("ParsePorts(%q)", tt.text), err)
			} else if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("ParsePorts(%q) = %v, %v, want %v", tt.text, got, err, tt.want)
			}
		})
	}
}

// No port of an agent may lie in an ephemeral range (Linux from 32768, Windows from 49152) or where licence servers live.
func TestDefaultPorts(t *testing.T) {
	ports, err := cardbroker.ParsePorts(cardbroker.DefaultPorts)
	if err != nil {
		t.Fatal(err)
	}
	if first, last, n := ports[0], ports[len(ports)-1], len(ports); first != 24800 || last != 31999 || n != 7190 {
		t.Errorf("the default ports are %d from %d to %d, want 7190 from 24800 to 31999", n, first, last)
	}
	for p := cardbroker.Port(27000); p <= 27009; p++ {
		if slices.Contains(ports, p) {
			t.Errorf("port %d is a licence server's", p)
		}
	}
}

func FuzzParsePorts(f *testing.F) {
	for _, seed := range []string{cardbroker.DefaultPorts, "1", "1-65535", "0", "5-4", ",", "-", "65536", " 1 ,2", "1-1-1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 40 {
			return // a few ranges; each may be all ports
		}
		ports, err := cardbroker.ParsePorts(text)
		if err != nil {
			wantInvalid(t, "ParsePorts", err)
			return
		}
		if len(ports) == 0 || ports[0] == 0 || !slices.IsSorted(ports) || len(slices.Compact(slices.Clone(ports))) != len(ports) {
			t.Errorf("ParsePorts(%q) = %v, want ascending ports without repetition", text, ports)
		}
		again, err := cardbroker.ParsePorts(strings.Trim(strings.ReplaceAll(fmt.Sprint([]cardbroker.Port(ports)), " ", ","), "[]"))
		if err != nil || !slices.Equal(again, ports) {
			t.Errorf("the ports of %q, listed and read again: %v, %v", text, again, err)
		}
	})
}
