// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package audit_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/broker/audit"
)

// small returns a small log of three files, and the head of it.
func small(t testing.TB) (content map[string][]byte, head cardbroker.Anchor) {
	t.Helper()
	l := newLog(t, func(c *audit.Config) { c.FileBytes = 900 })
	for range 3 {
		l.write(3)
	}
	l.stop()
	content = files(t, l.cfg.Dir)
	if len(content) != 3 {
		t.Fatalf("the log has %d files, want 3", len(content))
	}
	return content, l.head()
}

// lineOf is one line of a log: the n-th of a file.
type lineOf struct {
	file string
	n    int
}

// split returns the content's lines, and join the content of lines.
func split(content map[string][]byte) (lines map[string][][]byte, all []lineOf) {
	lines = make(map[string][][]byte)
	for _, name := range slices.Sorted(maps.Keys(content)) {
		lines[name] = splitLines(slices.Clone(content[name]))
		for n := range lines[name] {
			all = append(all, lineOf{name, n})
		}
	}
	return lines, all
}

func join(lines map[string][][]byte) map[string][]byte {
	content := make(map[string][]byte)
	for name, l := range lines {
		content[name] = bytes.Join(l, nil)
	}
	return content
}

// TestEveryByteCounts changes each byte of a log in turn, in two ways: all are found with an anchor of the head. Without it
// all are found but those that make the end of the last file unfinished, which is said.
func TestEveryByteCounts(t *testing.T) {
	content, head := small(t)
	dir := lay(t, content)
	names := slices.Sorted(maps.Keys(content))
	changes, unfinished := 0, 0
	for _, name := range names {
		for i := range content[name] {
			for _, change := range []byte{1 << (i % 8), 0x20} {
				text := slices.Clone(content[name])
				text[i] ^= change
				if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
					t.Fatal(err)
				}
				changes++
				if report := verify(t, dir, head); report.OK {
					t.Fatalf("%s: byte %d changed by %#x is not found", name, i, change)
				}
				if report := verify(t, dir); report.OK {
					unfinished++
					if name != names[2] || report.Torn == 0 || i != len(text)-1 {
						t.Fatalf("%s: byte %d changed by %#x is not found without an anchor: %+v", name, i, change, report)
					}
				}
			}
		}
		put(t, dir, content)
	}
	if unfinished != 2 {
		t.Errorf("%d changes are found by the anchor alone, want 2: those of the last newline", unfinished)
	}
	t.Logf("%d changes, all found; %d by the anchor alone", changes, unfinished)
}

// TestEveryLineCounts deletes, doubles and swaps all lines of a log, and moves them to all other places.
func TestEveryLineCounts(t *testing.T) {
	content, head := small(t)
	dir := lay(t, content)
	_, all := split(content)
	last := all[len(all)-1]
	check := func(what string, lines map[string][][]byte, anchorAlone bool) {
		t.Helper()
		put(t, dir, join(lines))
		if verify(t, dir, head).OK {
			t.Errorf("%s is not found", what)
		}
		if found := !verify(t, dir).OK; found == anchorAlone {
			t.Errorf("%s without an anchor: found is %v", what, found)
		}
	}
	for i, a := range all {
		lines, _ := split(content)
		lines[a.file] = slices.Delete(lines[a.file], a.n, a.n+1)
		check(fmt.Sprintf("%v deleted", a), lines, a == last)
		lines, _ = split(content)
		lines[a.file] = slices.Insert(lines[a.file], a.n, slices.Clone(lines[a.file][a.n]))
		check(fmt.Sprintf("%v doubled", a), lines, false)
		for j, b := range all {
			if i < j {
				lines, _ := split(content)
				lines[a.file][a.n], lines[b.file][b.n] = lines[b.file][b.n], lines[a.file][a.n]
				check(fmt.Sprintf("%v and %v swapped", a, b), lines, false)
			}
			if i != j {
				lines, _ := split(content)
				line := lines[a.file][a.n]
				lines[a.file] = slices.Delete(lines[a.file], a.n, a.n+1)
				to := min(b.n, len(lines[b.file]))
				lines[b.file] = slices.Insert(lines[b.file], to, line)
				if !maps.EqualFunc(join(lines), content, bytes.Equal) {
					check(fmt.Sprintf("%v moved to %v", a, b), lines, false)
				}
			}
		}
	}
}

// TestEveryCutCounts cuts each file at each of its bytes, and takes files away. Exactly these cuts are found by an anchor alone:
// those of the last file's end, its header included, and of the last file or files as a whole.
func TestEveryCutCounts(t *testing.T) {
	content, head := small(t)
	dir := lay(t, content)
	names := slices.Sorted(maps.Keys(content))
	for k, name := range names {
		for end := range content[name] {
			if err := os.WriteFile(filepath.Join(dir, name), content[name][:end], 0o600); err != nil {
				t.Fatal(err)
			}
			if verify(t, dir, head).OK {
				t.Fatalf("%s cut at %d is not found", name, end)
			}
			if found := !verify(t, dir).OK; found == (k == 2) {
				t.Fatalf("%s cut at %d: found without an anchor is %v", name, end, found)
			}
		}
		put(t, dir, content)
	}
	for gone := 1; gone < 8; gone++ {
		rest := maps.Clone(content)
		for k, name := range names {
			if gone>>k&1 == 1 {
				delete(rest, name)
			}
		}
		put(t, dir, rest)
		if verify(t, dir, head).OK {
			t.Errorf("files %03b gone are not found", gone)
		}
		tail := gone == 0b100 || gone == 0b110 || gone == 0b111
		if found := !verify(t, dir).OK; found == tail {
			t.Errorf("files %03b gone: found without an anchor is %v", gone, found)
		}
	}
}

// TestFilesCount gives files other names and other contents.
func TestFilesCount(t *testing.T) {
	content, head := small(t)
	dir := lay(t, content)
	names := slices.Sorted(maps.Keys(content))
	for i, a := range names {
		for _, b := range names[i+1:] {
			other := maps.Clone(content)
			other[a], other[b] = content[b], content[a]
			put(t, dir, other)
			if verify(t, dir, head).OK || verify(t, dir).OK {
				t.Errorf("%s and %s with each other's content are not found", a, b)
			}
		}
		other := maps.Clone(content)
		delete(other, a)
		other["00000000000000000099.jsonl"] = content[a]
		put(t, dir, other)
		if verify(t, dir, head).OK || verify(t, dir).OK {
			t.Errorf("%s under another name is not found", a)
		}
	}
}

// TestRewrittenLog makes the whole log anew, as root can: only an anchor shows it.
func TestRewrittenLog(t *testing.T) {
	_, head := small(t)
	forged, _ := small(t)
	dir := lay(t, forged)
	if report := verify(t, dir); !report.OK {
		t.Fatalf("a chain of its own: %+v", report)
	}
	if report := verify(t, dir, head); report.OK || report.Problem.Seq != head.Seq {
		t.Errorf("verify with an anchor of the real one: %+v", report)
	}
}

// TestOneRecordMadeAnew puts a record of another log, which has the same number and hangs together there, in the place of one of
// ours; and one whose hash was made to fit the record before it, so that the one after it does not.
func TestOneRecordMadeAnew(t *testing.T) {
	content, head := small(t)
	other, _ := small(t)
	dir := lay(t, content)
	theirs, _ := split(other)
	for name := range content {
		for n := 1; n < len(theirs[name]); n++ {
			lines, _ := split(content)
			if n >= len(lines[name]) || bytes.Equal(lines[name][n], theirs[name][n]) {
				continue
			}
			lines[name][n] = theirs[name][n]
			put(t, dir, join(lines))
			if verify(t, dir).OK || verify(t, dir, head).OK {
				t.Errorf("%s: line %d of another log is not found", name, n+1)
			}
		}
	}
	name := slices.Min(slices.Collect(maps.Keys(content)))
	lines, _ := split(content)
	prev := make([]byte, 32)
	body, _, _ := bytes.Cut(bytes.Replace(lines[name][1], []byte(`"event":"`), []byte(`"event":"not_`), 1), []byte(`,"hash":"`))
	lines[name][1] = fmt.Appendf(nil, "%s,\"hash\":\"%x\"}\n", body, sha256.Sum256(append(prev, body...)))
	put(t, dir, join(lines))
	if report := verify(t, dir); report.OK || report.Problem.Line != 3 || report.Problem.Seq != 2 {
		t.Errorf("a record that was changed with its hash: %+v", report)
	}
}

// TestForgedTrim lets an attacker cut off the beginning and tell of it himself: without an anchor's help he has to make all
// that follows anew, and an agent cannot say such a thing.
func TestForgedTrim(t *testing.T) {
	content, head := small(t)
	names := slices.Sorted(maps.Keys(content))
	delete(content, names[0])
	dir := lay(t, content)
	report := verify(t, dir, head)
	if report.OK || report.Problem.Seq != 1 || !strings.Contains(report.Problem.Why, "no record says") {
		t.Errorf("verify: %+v", report)
	}
	text := string(content[names[2]])
	line := splitLines([]byte(text))[1]
	forged := strings.Replace(text, `"event":"`, `"event":"log_trimmed","detail":"cardbroker audit head seq=1 hash=00","x":"`, 1)
	content[names[2]] = []byte(forged)
	put(t, dir, content)
	if report := verify(t, dir); report.OK {
		t.Errorf("a forged record in the place of %s is not found", line)
	}
}

// TestAnyChange makes changes of all kinds, several at a time.
func TestAnyChange(t *testing.T) {
	content, head := small(t)
	dir := lay(t, content)
	rapid.Check(t, func(r *rapid.T) {
		changed := maps.Clone(content)
		for range rapid.IntRange(1, 4).Draw(r, "changes") {
			name := rapid.SampledFrom(slices.Sorted(maps.Keys(content))).Draw(r, "file")
			text := slices.Clone(changed[name])
			from := rapid.IntRange(0, len(text)).Draw(r, "from")
			to := rapid.IntRange(from, min(len(text), from+200)).Draw(r, "to")
			changed[name] = slices.Replace(text, from, to, rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(r, "bytes")...)
		}
		if maps.EqualFunc(changed, content, bytes.Equal) || appended(changed, content) {
			return
		}
		put(t, dir, changed)
		if report := verify(t, dir, head); report.OK {
			r.Fatalf("not found: %+v", report)
		}
	})
	put(t, dir, content)
	if report := verify(t, dir, head); !report.OK {
		t.Errorf("the log itself: %+v", *report.Problem)
	}
}

// appended says whether the only change is an unfinished line at the end, which changes no record and is told of.
func appended(changed, content map[string][]byte) bool {
	names := slices.Sorted(maps.Keys(content))
	last := names[len(names)-1]
	for _, name := range names[:len(names)-1] {
		if !bytes.Equal(changed[name], content[name]) {
			return false
		}
	}
	rest, ok := bytes.CutPrefix(changed[last], content[last])
	return ok && !bytes.Contains(rest, []byte("\n"))
}

// TestNaiveLogs shows why the log is what it is: a log of plain lines is fooled by a line in a name, and one whose lines have
// hashes of their own, by lines that are swapped or gone.
func TestNaiveLogs(t *testing.T) {
	const evil = "reader\n2026-08-01 tunnel_opened user=bob tenant=issuer"
	plain := fmt.Appendf(nil, "2026-08-01 offer_made user=mallory reader=%s\n", evil)
	if n := bytes.Count(plain, []byte("\n")); n != 2 {
		t.Errorf("the naive log has %d lines of one event: it was to be fooled", n)
	}
	l := newLog(t)
	l.Record(nil, cardbroker.Event{Name: cardbroker.EventOfferMade, Reader: evil})
	l.flush()
	if records := l.records(); len(records) != 1 || strings.Contains(records[0].Reader, "\n") {
		t.Errorf("ours has %+v, want one record", records)
	}

	sum := func(line string) string {
		return fmt.Sprintf("%s #%x", line, bytes.Map(func(r rune) rune { return r ^ 1 }, []byte(line)))
	}
	naive := func(lines []string) bool { // each line against its own sum
		return !slices.ContainsFunc(lines, func(line string) bool { text, _, _ := strings.Cut(line, " #"); return sum(text) != line })
	}
	lines := []string{sum("a"), sum("b"), sum("c")}
	for name, forged := range map[string][]string{"swapped": {lines[1], lines[0], lines[2]}, "gone": {lines[0], lines[2]}, "doubled": {lines[0], lines[0], lines[1], lines[2]}} {
		if !naive(forged) {
			t.Errorf("%s: the naive log was to be fooled", name)
		}
	}
	// Ours: TestEveryLineCounts.
}

// TestExport verifies every piece of a log, and finds every change in it.
func TestExport(t *testing.T) {
	content, head := small(t)
	dir := lay(t, content)
	out := filepath.Join(t.TempDir(), "export.jsonl")
	run := func(anchors ...cardbroker.Anchor) audit.Report {
		report, err := audit.Verify{Files: []string{out}, Anchors: anchors}.Run(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return report
	}
	for from := uint64(1); from <= head.Seq; from++ {
		for to := from; to <= head.Seq; to++ {
			var text bytes.Buffer
			n, err := audit.Export{Dir: dir, From: from, To: to}.JSONL(context.Background(), &text)
			if err != nil || n != to-from+1 {
				t.Fatalf("%d to %d: %d records, %v", from, to, n, err)
			}
			if err := os.WriteFile(out, text.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			report := run(head)
			if !report.OK || report.First != from || report.Last != to || report.Anchors.Held+report.Anchors.After != 1 {
				t.Fatalf("%d to %d: %+v", from, to, report)
			}
		}
	}
	var all bytes.Buffer
	if _, err := (audit.Export{Dir: dir}).JSONL(context.Background(), &all); err != nil {
		t.Fatal(err)
	}
	for i := range all.Len() - 1 {
		text := slices.Clone(all.Bytes())
		text[i] ^= 1
		if err := os.WriteFile(out, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if run().OK {
			t.Fatalf("byte %d of an export changed is not found", i)
		}
	}
}

// TestCSVIsNoProgram has names that a spreadsheet would run.
func TestCSVIsNoProgram(t *testing.T) {
	l := newLog(t)
	for _, name := range []string{"=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "a,\"b\""} {
		l.Record(nil, cardbroker.Event{Name: cardbroker.EventOfferMade, Reader: name})
	}
	l.flush()
	var out bytes.Buffer
	if n, err := (audit.Export{Dir: l.cfg.Dir}).CSV(context.Background(), &out); err != nil || n != 5 {
		t.Fatalf("%d records, %v", n, err)
	}
	for _, want := range []string{",'=cmd|' /C calc'!A0,", ",'+1,", ",'-1,", ",'@SUM(A1),", `,"a,""b""",`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table has no cell %s:\n%s", want, out.String())
		}
	}
}
