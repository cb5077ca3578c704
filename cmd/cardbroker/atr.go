// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"github.com/cardbroker/cardbroker/apdu"
	"github.com/cardbroker/cardbroker/api"
)

// stateOf is what an event says of a reader, as people who know pcsc_scan expect it.
func stateOf(e api.ReaderEvent) string {
	switch {
	case e.Event == api.EventReaderAdded:
		return "reader connected"
	case e.Event == api.EventReaderRemoved:
		return "reader removed"
	case e.Event == api.EventCardOut:
		return "no card"
	case e.Event == api.EventCardIn && e.ATR == "":
		return "card inserted, mute: it does not answer"
	case e.Event == api.EventCardIn:
		return "card inserted"
	}
	return e.Event
}

// writeScan writes one event of a reader with all that its card's ATR says. It knows no more than the event: no card is
// asked.
func (p *program) writeScan(e api.ReaderEvent) error {
	return p.write(e, func(w io.Writer) {
		at := e.Time.Local().Format("2006-01-02 15:04:05.000")
		fmt.Fprintf(w, "%s\nReader: %s (%s)\n  State: %s\n", at, line(e.Name), e.Reader, line(stateOf(e)))
		if raw, err := hex.DecodeString(e.ATR); err == nil && len(raw) > 0 {
			fmt.Fprintf(w, "  ATR: % X\n", raw)
			for _, text := range atrLines(raw) {
				fmt.Fprintf(w, "  %s\n", text)
			}
			fmt.Fprintln(w, "  Possibly identified card:")
			for _, text := range e.Description {
				fmt.Fprintf(w, "    %s\n", line(text))
			}
			if len(e.Description) == 0 {
				fmt.Fprintln(w, "    unknown")
			}
		}
		fmt.Fprintln(w)
	})
}

// line returns text that others chose so that it stays on one line.
func line(text string) string { return printable(text, ' ') }

// atrLines explains an ATR, a line each.
func atrLines(raw []byte) []string {
	a, wrong := apdu.ReadATR(raw)
	lines := []string{
		fmt.Sprintf("+ TS = %02X: %s", raw[0], convention(raw[0])),
		fmt.Sprintf("+ T0 = %02X: %s", a.T0, formatWords(a.T0)),
	}
	meanings := a.Meanings()
	for i, b := range a.Interface {
		lines = append(lines, fmt.Sprintf("  %s = %02X: %s", b.Name(), b.Value, meanings[i]))
	}
	lines = append(lines, "+ Protocols: "+protocols(a))
	lines = append(lines, historicalLines(a.Historical)...)
	switch {
	case a.TCK.Present && a.TCK.Value == a.TCK.Want:
		lines = append(lines, fmt.Sprintf("+ TCK = %02X: right", a.TCK.Value))
	case a.TCK.Present:
		lines = append(lines, fmt.Sprintf("+ TCK = %02X: WRONG, want %02X", a.TCK.Value, a.TCK.Want))
	case !a.TCK.Needed:
		lines = append(lines, "+ TCK: none is needed")
	}
	for _, err := range wrong {
		lines = append(lines, "! "+err.Error())
	}
	return lines
}

func convention(ts byte) string {
	switch ts {
	case 0x3B:
		return "direct convention"
	case 0x3F:
		return "inverse convention"
	}
	return "no convention"
}

func formatWords(t0 byte) string {
	var parts []string
	for kind := range byte(4) {
		if t0>>4&(1<<kind) != 0 {
			parts = append(parts, fmt.Sprintf("T%c1", 'A'+kind))
		}
	}
	follow := "no interface byte"
	if len(parts) > 0 {
		follow = strings.Join(parts, ", ")
	}
	return fmt.Sprintf("%s; %d historical bytes", follow, t0&0x0F)
}

// protocols says what the card speaks, and how long it may be silent.
func protocols(a apdu.ATR) string {
	p := a.Parameters()
	var offered, waits []string
	for _, t := range a.Protocols {
		offered = append(offered, fmt.Sprintf("T=%d", t))
		if wait := p.WaitingTime(t, apdu.UsualClock); wait > 0 {
			waits = append(waits, fmt.Sprintf("%d ms with T=%d", wait.Milliseconds(), t))
		}
	}
	mode := "unless another is chosen"
	if p.Specific {
		mode = "specific mode"
	}
	text := fmt.Sprintf("%s; T=%d %s", strings.Join(offered, ", "), p.Protocol, mode)
	if len(waits) > 0 {
		text += fmt.Sprintf("; may be silent for %s (at %d MHz)", strings.Join(waits, ", "), apdu.UsualClock/1000)
	}
	return text
}

func historicalLines(b []byte) []string {
	if len(b) == 0 {
		return []string{"+ Historical bytes: none"}
	}
	lines := []string{fmt.Sprintf("+ Historical bytes: % X%s", b, letters(b))}
	h, err := apdu.ParseHistorical(b)
	lines = append(lines, fmt.Sprintf("  Category %02X: %s", h.Category, h.CategoryWords()))
	if len(h.DIR) > 0 {
		lines = append(lines, fmt.Sprintf("    DIR data reference: % X", h.DIR))
	}
	for _, o := range h.Objects {
		lines = append(lines, fmt.Sprintf("    Tag %X, %s: % X", o.Tag, o.Name(), o.Value))
		for _, text := range o.Words() {
			lines = append(lines, "      - "+text)
		}
	}
	for _, text := range h.Status.Words() {
		lines = append(lines, "    "+text)
	}
	if err != nil {
		lines = append(lines, "  ! "+err.Error())
	}
	return lines
}

// letters shows historical bytes that are readable, as many cards have their name there.
func letters(b []byte) string {
	for _, c := range b {
		if c < ' ' || c > '~' {
			return ""
		}
	}
	return fmt.Sprintf(" (%s)", b)
}
