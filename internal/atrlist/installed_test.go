// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package atrlist_test

import (
	"encoding/hex"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker/internal/atrlist"
	"github.com/cardbroker/cardbroker/internal/testenv"
)

// row is a pattern of a list and its descriptions, as this test reads them: in another way than the package.
type row struct {
	pattern      string
	descriptions []string
	whole        *regexp.Regexp // matches a whole ATR, as the tools of that list do it
}

// installed reads the list that the distribution has installed.
func installed(t testing.TB) (*atrlist.List, []row) {
	t.Helper()
	text, err := os.ReadFile(atrlist.DistributionFile)
	if err != nil {
		testenv.Skip(t, "needs "+atrlist.DistributionFile+" of pcsc-tools")
	}
	var rows []row
	open := false
	for line := range strings.SplitSeq(string(text), "\n") {
		switch {
		case strings.HasPrefix(line, "#"):
		case line == "":
			open = false
		case line[0] != '\t':
			rows = append(rows, row{pattern: line, whole: regexp.MustCompile("^(" + line + ")$")})
			open = true
		case open && strings.TrimSpace(line) != "":
			last := &rows[len(rows)-1]
			last.descriptions = append(last.descriptions, strings.TrimSpace(line))
		}
	}
	list, err := atrlist.Load(atrlist.DistributionFile)
	if err != nil {
		t.Fatal(err)
	}
	return list, rows
}

var (
	rest  = regexp.MustCompile(`\.\*`)
	class = regexp.MustCompile(`\[(.)[^]]*\]`)
)

// concrete makes an ATR that a pattern matches. It is the last choice of each wildcard where last is set.
func concrete(pattern string, last bool) string {
	text := strings.ReplaceAll(pattern, " .* ", " A1 B2 ")
	text = rest.ReplaceAllString(text, "")
	if last {
		text = class.ReplaceAllStringFunc(text, func(s string) string { return s[len(s)-2 : len(s)-1] })
	}
	text = class.ReplaceAllString(text, "$1")
	return strings.ReplaceAll(text, ".", map[bool]string{false: "4", true: "F"}[last])
}

func bytesOf(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return b
}

// TestEveryInstalledPattern makes ATRs from each pattern of the installed list and has each found, with its own
// descriptions.
func TestEveryInstalledPattern(t *testing.T) {
	list, rows := installed(t)
	if len(rows) < 4000 || list.Len() != len(rows) {
		t.Errorf("the list has %d patterns and %d were taken, want all and 4000 or more; skipped: %v", len(rows), list.Len(), list.Skipped())
	}
	for _, p := range list.Skipped() {
		if p.Text != "a description without a pattern" {
			t.Errorf("the installed list: %v", p)
		}
	}
	t.Logf("%d patterns, %d lines skipped: %v", list.Len(), len(list.Skipped()), list.Skipped())
	for _, r := range rows {
		for _, last := range []bool{false, true} {
			atr := concrete(r.pattern, last)
			if !r.whole.MatchString(atr) {
				t.Fatalf("the test's own ATR %s does not match %s", atr, r.pattern)
			}
			found := list.Find(bytesOf(t, atr))
			for _, d := range r.descriptions {
				if !slices.Contains(found, d) {
					t.Errorf("Find(%s) = %q, want %q of %s", atr, found, d, r.pattern)
				}
			}
		}
	}
}

// TestInstalledAgainstExpressions compares look-ups with what the patterns say as regular expressions, in their order.
func TestInstalledAgainstExpressions(t *testing.T) {
	list, rows := installed(t)
	for i := 0; i < len(rows); i += 41 {
		atr := concrete(rows[i].pattern, false)
		var exact, masked []string
		for _, r := range rows {
			switch {
			case r.pattern == atr:
				exact = append(exact, r.descriptions...)
			case r.whole.MatchString(atr):
				masked = append(masked, r.descriptions...)
			}
		}
		var want []string
		for _, d := range append(exact, masked...) {
			if !slices.Contains(want, d) {
				want = append(want, d)
			}
		}
		if got := list.Find(bytesOf(t, atr)); !slices.Equal(got, want) {
			t.Errorf("Find(%s) = %q, want %q", atr, got, want)
		}
	}
}

// TestLookUpTime takes the best of a few rounds over all patterns, as other programs use the machine too.
func TestLookUpTime(t *testing.T) {
	list, rows := installed(t)
	var atrs [][]byte
	for _, r := range rows {
		atrs = append(atrs, bytesOf(t, concrete(r.pattern, false)))
	}
	best := time.Hour
	for range 5 {
		start := time.Now()
		for _, atr := range atrs {
			list.Find(atr)
		}
		best = min(best, time.Since(start)/time.Duration(len(atrs)))
	}
	t.Logf("%v a look-up", best)
	if best > 20*time.Microsecond {
		t.Errorf("a look-up takes %v, want 20 µs at most", best)
	}
}

// BenchmarkFind looks up ATRs made from all patterns of the installed list, one after the other.
func BenchmarkFind(b *testing.B) {
	list, rows := installed(b)
	var atrs [][]byte
	for _, r := range rows {
		atrs = append(atrs, bytesOf(b, concrete(r.pattern, false)))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		list.Find(atrs[i%len(atrs)])
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "µs/lookup")
}

// BenchmarkLoad reads and indexes the installed list.
func BenchmarkLoad(b *testing.B) {
	installed(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := atrlist.Load(atrlist.DistributionFile); err != nil {
			b.Fatal(err)
		}
	}
}
