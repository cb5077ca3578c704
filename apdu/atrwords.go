// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package apdu

import (
	"fmt"
	"strings"
)

// Meanings returns what each of the interface bytes means, in words and in the order of Interface.
func (a ATR) Meanings() []string {
	list := make([]string, len(a.Interface))
	for i, b := range a.Interface {
		list[i] = a.meaning(i, b.Value)
	}
	return list
}

func (a ATR) meaning(i int, v byte) string {
	switch a.role(i) {
	case roleRate:
		return rateWords(v)
	case roleVoltage:
		return voltageWords(a.Interface[i].Index, v)
	case roleGuard:
		return guardWords(v)
	case roleNext:
		return nextWords(a.Interface[i].Index, v)
	case roleMode:
		return modeWords(v)
	case roleWait:
		return fmt.Sprintf("waiting time integer of T=0: %d%s", v, reserved(v == 0))
	case roleSize:
		return fmt.Sprintf("information field size of the card: %d%s", v, reserved(v == 0 || v == 0xFF))
	case roleBlockWait:
		return fmt.Sprintf("block waiting time integer: %d%s; character waiting time integer: %d", v>>4, reserved(v>>4 > 9), v&0x0F)
	case roleCheck:
		return fmt.Sprintf("error detection code: %s%s", [2]string{"LRC", "CRC"}[v&1], reserved(v > 1))
	case roleClass:
		return fmt.Sprintf("clock stop: %v; classes: %v", ClockStop(v>>6), Classes(v&0x3F))
	case roleUse:
		return useWords(v)
	}
	return fmt.Sprintf("not defined for T=%d", a.Interface[i].T)
}

func reserved(is bool) string {
	if is {
		return " (reserved)"
	}
	return ""
}

func rateWords(v byte) string {
	fi, kHz := conversion(v)
	di := adjustment(v)
	if fi == 0 || di == 0 {
		return fmt.Sprintf("Fi index %d%s, Di index %d%s", v>>4, reserved(fi == 0), v&0x0F, reserved(di == 0))
	}
	cycles := strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.2f", float64(fi)/float64(di)), "0"), ".")
	return fmt.Sprintf("Fi=%d, Di=%d: %s clock cycles a bit, %d bit/s at 4 MHz; highest clock %g MHz: %d bit/s",
		fi, di, cycles, 4_000_000*di/fi, float64(kHz)/1000, kHz*1000*di/fi)
}

func voltageWords(index int, v byte) string {
	if index == 1 && v&0x7F == 0 {
		return "VPP is not connected"
	}
	return "programming voltage (obsolete)"
}

func guardWords(v byte) string {
	if v == 0xFF {
		return "extra guard time: 255 (the shortest: 12 bits with T=0, 11 with T=1)"
	}
	return fmt.Sprintf("extra guard time: %d", v)
}

func nextWords(index int, v byte) string {
	t := v & 0x0F
	words := fmt.Sprintf("protocol T=%d", t)
	switch {
	case t == global:
		words = "global interface bytes (T=15)"
	case t > 1 && t != 14:
		words += " (reserved)"
	case t == 14:
		words += " (not standardised)"
	}
	var follow []string
	for kind := range byte(4) {
		if v>>4&(1<<kind) != 0 {
			follow = append(follow, fmt.Sprintf("T%c%d", 'A'+kind, index+1))
		}
	}
	switch len(follow) {
	case 0:
		return words + "; the last"
	case 1:
		return words + "; " + follow[0] + " follows"
	}
	return words + "; " + strings.Join(follow, ", ") + " follow"
}

func modeWords(v byte) string {
	change := "may change to negotiable mode"
	if v&0x80 != 0 {
		change = "cannot change mode"
	}
	parameters := "Fi and Di of TA1"
	if v&0x10 != 0 {
		parameters = "Fi and Di known otherwise"
	}
	return fmt.Sprintf("specific mode: T=%d; %s; %s%s", v&0x0F, parameters, change, reserved(v&0x60 != 0))
}

func useWords(v byte) string {
	switch {
	case v == 0:
		return "contact C6 is not used"
	case v&0x80 != 0:
		return "proprietary use of contact C6"
	}
	return "standard use of contact C6"
}
