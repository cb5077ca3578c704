// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package audit_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/broker/audit"
)

func TestRecords(t *testing.T) {
	l := newLog(t)
	alice := agent(0, "7")
	l.Record(nil, cardbroker.Event{Name: cardbroker.EventBrokerStarted, Detail: "dev"})
	l.Record(&alice, cardbroker.Event{Name: cardbroker.EventAgentRegistered})
	l.Say(alice, api.Event{Time: time.Now().Add(-time.Hour), Event: cardbroker.Event{Name: cardbroker.EventConsentGranted, Origin: "https://a.example"}})
	l.flush()
	records := l.records()
	if len(records) != 3 {
		t.Fatalf("%d records, want 3: %+v", len(records), records)
	}
	for i, r := range records {
		if r.Seq != uint64(i+1) || time.Since(r.Time).Abs() > time.Minute {
			t.Errorf("record %d: %+v", i, r)
		}
	}
	if r := records[0]; r.By != "broker" || r.UID != nil || r.User != "" || r.Detail != "dev" {
		t.Errorf("the broker's own record: %+v", r)
	}
	if r := records[1]; r.By != "broker" || r.UID == nil || *r.UID != 0 || r.User != "root" || r.Session != "7" || r.Told != nil {
		t.Errorf("a record of what the broker saw: %+v", r)
	}
	if r := records[2]; r.By != "agent" || r.Origin != "https://a.example" || r.Told == nil || time.Since(*r.Told) < 50*time.Minute {
		t.Errorf("a record of what the agent said: %+v", r)
	}
	report := l.wantOK(l.head())
	if report.Records != 3 || report.Files != 1 || report.Anchors.Held != 1 {
		t.Errorf("verify: %+v", report)
	}
}

func TestModes(t *testing.T) {
	l := newLog(t)
	l.write(1)
	for path, want := range map[string]os.FileMode{"": 0o700, "00000000000000000001.jsonl": 0o600, "lock": 0o600} {
		info, err := os.Stat(filepath.Join(l.cfg.Dir, path))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%q: %v, %v, want %v", path, info.Mode(), err, want)
		}
	}
}

// TestChainGoesOn restarts a log and has it begin new files.
func TestChainGoesOn(t *testing.T) {
	l := newLog(t, func(c *audit.Config) { c.FileBytes = 2000 })
	var anchors []cardbroker.Anchor
	for range 5 {
		l.write(7)
		anchors = append(anchors, l.head())
		l.restart()
	}
	report := l.wantOK(anchors...)
	if report.Records != 35 || report.Files < 5 || report.Anchors.Held != 5 || report.Last != 35 {
		t.Errorf("verify: %+v, want 35 records in several files", report)
	}
	if kept, _ := l.heads.AuditHead(t.Context()); kept != l.head() {
		t.Errorf("the head that is kept is %v, want %v", kept, l.head())
	}
}

func TestSecondBrokerIsRefused(t *testing.T) {
	l := newLog(t)
	if _, err := audit.Open(t.Context(), l.cfg); cardbroker.ReasonOf(err) != cardbroker.Conflict {
		t.Errorf("Open() = %v, want conflict", err)
	}
	l.write(1)
	l.wantOK()
}

// TestHostileAgent has an agent say what it may not, and as much as it can. Others, and what the broker sees, are not touched.
func TestHostileAgent(t *testing.T) {
	l := newLog(t)
	mallory, alice := agent(1666, "1"), agent(1001, "1")
	say := func(key cardbroker.AgentKey, e cardbroker.Event) { l.Say(key, api.Event{Time: time.Now(), Event: e}) }
	for _, name := range []cardbroker.EventName{cardbroker.EventBrokerStopped, cardbroker.EventLogTrimmed, cardbroker.EventLogDamaged,
		cardbroker.EventTokenIssued, cardbroker.EventAdmin, "", "nonsense", `x","event":"admin`} {
		say(mallory, cardbroker.Event{Name: name, Detail: "forged"})
	}
	say(mallory, cardbroker.Event{Name: cardbroker.EventTunnelEnded, Detail: "line\n{\"seq\":9}\r\x1b[2J\u0085\u202e\xff" + strings.Repeat("x", 1<<20),
		Reader: strings.Repeat("\x00", 1<<16), Tenant: cardbroker.Tenant(strings.Repeat("<", 1<<10)), Origin: "http://a\nb"})
	l.flush()
	for range 5 {
		for range 1000 {
			say(mallory, cardbroker.Event{Name: cardbroker.EventOfferMade})
		}
		l.flush()
	}
	say(alice, cardbroker.Event{Name: cardbroker.EventOfferMade, Reader: "alice's"})
	l.Record(&mallory, cardbroker.Event{Name: cardbroker.EventAgentLeft})
	l.stop()

	offers := map[uint32]int{}
	for _, r := range l.records() {
		if r.Detail == "forged" || !r.Name.ByAgents() && r.By == "agent" {
			t.Errorf("forged: %+v", r)
		}
		if r.Name == cardbroker.EventOfferMade {
			offers[*r.UID]++
		}
		if r.Name == cardbroker.EventTunnelEnded && (len(r.Detail) > 256 || strings.ContainsAny(r.Detail, "\n\r\x1b\u0085\u202e") || strings.Contains(r.Detail, "\xff") || len(r.Reader) > 128 || r.Origin != "http://a?b") {
			t.Errorf("not made safe: %+v", r)
		}
	}
	if offers[1666] > 1100 || offers[1001] != 1 || len(l.named(cardbroker.EventAgentLeft)) != 1 {
		t.Errorf("%d events of who floods, %d of another, want the first bounded and the second there", offers[1666], offers[1001])
	}
	lost := uint64(0)
	for _, r := range l.named(cardbroker.EventEventsLost) {
		if r.By != "broker" || *r.UID != 1666 {
			t.Errorf("lost: %+v, want only his", r)
		}
		lost += r.Count
	}
	if want := uint64(8 + 5000 - offers[1666]); lost != want || l.Status().Lost != want {
		t.Errorf("%d lost are recorded, %d in the status, want %d", lost, l.Status().Lost, want)
	}
	if longest := longestLine(t, l.cfg.Dir); longest > 8<<10 {
		t.Errorf("a line has %d bytes", longest)
	}
	l.wantOK(l.head())
}

func longestLine(t *testing.T, dir string) (longest int) {
	for _, text := range files(t, dir) {
		for _, line := range splitLines(text) {
			longest = max(longest, len(line))
		}
	}
	return longest
}

// TestRefusalsHideNothing has a user be refused as often as he can: what his agent says, and what the broker sees of him, has
// an account of its own.
func TestRefusalsHideNothing(t *testing.T) {
	l := newLog(t)
	mallory := agent(1666, "1")
	for range 3000 {
		l.Record(&mallory, cardbroker.Event{Name: cardbroker.EventCallerRefused, Rule: cardbroker.RuleOtherUser})
		l.Record(nil, cardbroker.Event{Name: cardbroker.EventTenantRefused, Rule: cardbroker.RuleToken})
	}
	l.flush()
	l.Record(&mallory, cardbroker.Event{Name: cardbroker.EventTokenIssued})
	l.Say(mallory, api.Event{Event: cardbroker.Event{Name: cardbroker.EventTunnelOpened}})
	l.Record(nil, cardbroker.Event{Name: cardbroker.EventBrokerStopped})
	l.flush()
	for _, name := range []cardbroker.EventName{cardbroker.EventTokenIssued, cardbroker.EventTunnelOpened, cardbroker.EventBrokerStopped} {
		if len(l.named(name)) != 1 {
			t.Errorf("no record of %s", name)
		}
	}
	if n := len(l.named(cardbroker.EventCallerRefused)); n == 0 || n > 150 {
		t.Errorf("%d refusals recorded, want some", n)
	}
}

// TestTenantsHideNothing has a back end come back all the time: another tenant's tunnels, and what the broker itself tells, are there.
func TestTenantsHideNothing(t *testing.T) {
	l := newLog(t)
	for range 24 {
		for range 500 {
			l.Record(nil, cardbroker.Event{Name: cardbroker.EventTunnelResumed, Tenant: "noisy"})
			l.Record(nil, cardbroker.Event{Name: cardbroker.EventTunnelEnded, Tenant: "noisy"})
		}
		l.flush()
	}
	l.Record(nil, cardbroker.Event{Name: cardbroker.EventTunnelOpened, Tenant: "quiet"})
	l.Record(nil, cardbroker.Event{Name: cardbroker.EventAdmin})
	l.stop()
	kept := len(l.named(cardbroker.EventTunnelResumed)) + len(l.named(cardbroker.EventTunnelEnded))
	if kept == 0 || kept > 8500 || len(l.named(cardbroker.EventTunnelOpened)) != 1 || len(l.named(cardbroker.EventAdmin)) != 1 {
		t.Errorf("%d events of who floods are kept, and %d of another", kept, len(l.named(cardbroker.EventTunnelOpened)))
	}
	lost := uint64(0)
	for _, r := range l.named(cardbroker.EventEventsLost) {
		if r.Tenant != "noisy" {
			t.Errorf("lost: %+v, want only the flooder's", r)
		}
		lost += r.Count
	}
	if lost != uint64(24000-kept) {
		t.Errorf("%d are said to be lost, want %d", lost, 24000-kept)
	}
}

// TestAllTunnelsAtOnce has a back end lose all tunnels that it may have at a time, and take them up again: each is there. Of all but a
// thousand it was only said that they were lost.
func TestAllTunnelsAtOnce(t *testing.T) {
	l := newLog(t)
	for _, name := range []cardbroker.EventName{cardbroker.EventTunnelEnded, cardbroker.EventTunnelResumed} {
		for range 4096 / 256 {
			for range 256 {
				l.Record(nil, cardbroker.Event{Name: name, Tenant: "issuer"})
			}
			l.flush()
		}
	}
	l.stop()
	if ended, resumed := len(l.named(cardbroker.EventTunnelEnded)), len(l.named(cardbroker.EventTunnelResumed)); ended != 4096 || resumed != 4096 {
		t.Errorf("of 4096 tunnels %d ends and %d resumptions are there", ended, resumed)
	}
}

// TestSystemLog tells of the head at start and stop, and a system log that fails or hangs stops nobody.
func TestSystemLog(t *testing.T) {
	told := make(chan string, 16)
	l := newLog(t, func(c *audit.Config) {
		c.SystemLog = func(line string) error { told <- line; return errors.New("no space") }
	})
	l.write(5)
	if a, ok := cardbroker.FindAnchor(<-told); !ok || a.Seq == 0 {
		t.Errorf("told of %v, %v", a, ok)
	}
	l.stop()
	a, ok := cardbroker.FindAnchor(<-told)
	if !ok || a.Seq != 5 {
		t.Errorf("told at the end of %v, %v, want record 5", a, ok)
	}
	if s := l.Status(); s.TellError != "no space" || s.Told != nil {
		t.Errorf("status %+v, want the error", s)
	}
	l.wantOK(a)
}

// TestRetention cuts off old files, and the log says so; without that record the cut is found.
func TestRetention(t *testing.T) {
	l := newLog(t, func(c *audit.Config) { c.FileBytes, c.MaxBytes = 2000, 8000 })
	var anchors []cardbroker.Anchor
	for range 12 {
		l.write(7)
		anchors = append(anchors, l.head())
		l.restart() // looks for what is too much
	}
	l.write(1)
	l.wantOK(anchors...) // perhaps while it cuts
	l.stop()
	report := l.wantOK(anchors...)
	if !report.Trimmed || report.First == 1 || report.Anchors.Before == 0 || report.Anchors.Held == 0 {
		t.Errorf("verify: %+v, want a log whose beginning was cut off", report)
	}
	size := int64(0)
	for _, text := range files(t, l.cfg.Dir) {
		size += int64(len(text))
	}
	if size > 8000+2*2000 {
		t.Errorf("%d bytes are kept, want about 8000", size)
	}
	trimmed := l.named(cardbroker.EventLogTrimmed)
	last := trimmed[len(trimmed)-1]
	if a, ok := cardbroker.FindAnchor(last.Detail); !ok || a.Seq+1 != report.First || last.Method != "size" || last.Count == 0 {
		t.Errorf("the log tells of the cut %+v, want it to begin at %d", last, report.First)
	}

	old := time.Now().AddDate(0, 0, -401)
	for name := range files(t, l.cfg.Dir) {
		if err := os.Chtimes(filepath.Join(l.cfg.Dir, name), old, old); err != nil {
			t.Fatal(err)
		}
	}
	l.restart()
	l.write(1) // a new day: a new file, and all others are too old
	l.restart()
	l.write(1)
	l.stop()
	if n := len(files(t, l.cfg.Dir)); n > 2 {
		t.Errorf("%d files, want the old ones to be cut off", n)
	}
	l.wantOK()
}

// TestKeptHeadIsMissed cuts off the tail while no broker runs: the next start finds it, says so for good and goes on.
func TestKeptHeadIsMissed(t *testing.T) {
	for _, test := range []struct {
		name   string
		damage func(text []byte) []byte
		found  string
	}{
		{"the last record", func(text []byte) []byte { return text[:lineEnds(text)[8]] }, "records from 9 to 9 are gone"},
		{"everything", func([]byte) []byte { return nil }, "records from 1 to 9 are gone"},
		{"a record in between", func(text []byte) []byte { e := lineEnds(text); return append(text[:e[3]:e[3]], text[e[4]:]...) }, "record 5 follows record 3"},
		{"a byte", func(text []byte) []byte { text[lineEnds(text)[3]+30] ^= 1; return text }, "record 4"},
		{"everything made anew", func([]byte) []byte {
			other := newLog(t)
			other.write(9)
			other.stop()
			return files(t, other.cfg.Dir)["00000000000000000001.jsonl"]
		}, "record 9 is not the one whose hash was kept"},
		{"the header", func(text []byte) []byte { text[3] ^= 1; return text }, "header"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLog(t)
			l.write(9)
			before := l.head()
			l.stop()
			name := "00000000000000000001.jsonl"
			text := test.damage(files(t, l.cfg.Dir)[name])
			content := map[string][]byte{name: text}
			if text == nil {
				content = nil
			}
			put(t, l.cfg.Dir, content)
			l.start()
			l.write(3)
			found := l.named(cardbroker.EventLogDamaged)
			if len(found) != 1 || !strings.Contains(found[0].Detail, test.found) || l.Status().Damage == "" {
				t.Errorf("the log says %+v, want %q", found, test.found)
			}
			if report := verify(t, l.cfg.Dir); report.OK {
				t.Error("verify finds nothing")
			}
			if head := l.head(); head.Seq <= before.Seq {
				t.Errorf("the log goes on at %d, after %d", head.Seq, before.Seq)
			}
			if text != nil && string(files(t, l.cfg.Dir)[name]) != string(text) {
				t.Error("the damaged file was changed")
			}
			l.restart()
			l.write(1)
			if n := len(l.named(cardbroker.EventLogDamaged)); n != 1 {
				t.Errorf("the damage is told of %d times, want once", n)
			}
		})
	}
}

// TestTornLine ends the file at each byte of its last line, as a crash may: the next start cuts it off, says so and goes on.
func TestTornLine(t *testing.T) {
	l := newLog(t)
	l.write(3)
	kept := l.head()
	l.write(1)
	l.stop()
	name := "00000000000000000001.jsonl"
	text := files(t, l.cfg.Dir)[name]
	ends := lineEnds(text)
	for end := ends[3] + 1; end < len(text); end += 7 {
		l.heads.Store(&kept) // as it is after a crash
		put(t, l.cfg.Dir, map[string][]byte{name: text[:end]})
		if report := verify(t, l.cfg.Dir); !report.OK || report.Torn != int64(end-ends[3]) {
			t.Fatalf("cut at %d: %+v", end, report)
		}
		l.start()
		l.write(1)
		l.stop()
		repaired := l.named(cardbroker.EventLogRepaired)
		if len(repaired) != 1 || !strings.Contains(repaired[0].Detail, fmt.Sprintf(" %d bytes", end-ends[3])) {
			t.Fatalf("cut at %d: the log says %+v", end, repaired)
		}
		if report := l.wantOK(kept); report.Last != 5 {
			t.Fatalf("cut at %d: the log ends at %d, want 5", end, report.Last)
		}
	}
}

// TestTornFile ends a new file at each byte of its header.
func TestTornFile(t *testing.T) {
	l := newLog(t, func(c *audit.Config) { c.FileBytes = 1 })
	l.write(2)
	l.restart()
	l.write(1)
	l.stop()
	content := files(t, l.cfg.Dir)
	last := "00000000000000000003.jsonl"
	text := content[last]
	if len(content) != 2 || len(text) == 0 {
		t.Fatalf("files %v", content)
	}
	for end := 0; end <= lineEnds(text)[0]; end += 3 {
		kept := cardbroker.Anchor{}
		l.heads.Store(&kept)
		content[last] = text[:end]
		put(t, l.cfg.Dir, content)
		if report := verify(t, l.cfg.Dir); !report.OK {
			t.Fatalf("cut at %d: %+v", end, *report.Problem)
		}
		l.start()
		l.write(2)
		l.stop()
		if report := l.wantOK(); report.Last < 4 {
			t.Fatalf("cut at %d: %+v", end, report)
		}
	}
}

// TestFormIsFixed holds the form of a line: other programs verify it.
func TestFormIsFixed(t *testing.T) {
	l := newLog(t)
	l.Record(nil, cardbroker.Event{Name: cardbroker.EventBrokerStarted, Detail: "<dev>"})
	l.flush()
	for _, text := range files(t, l.cfg.Dir) {
		got := splitLines(text)
		if want := `{"cardbroker_audit":1,"first":1,"prev":"` + strings.Repeat("0", 64) + "\"}\n"; string(got[0]) != want {
			t.Errorf("the header is %s, want %s", got[0], want)
		}
		var line map[string]any
		if err := json.Unmarshal(got[1], &line); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf(`{"seq":1,"time":%q,"event":"broker_started","detail":"\u003cdev\u003e","by":"broker","hash":%q}`+"\n", line["time"], line["hash"])
		if string(got[1]) != want {
			t.Errorf("the line is %s, want %s", got[1], want)
		}
	}
}

func TestFlushEnds(t *testing.T) {
	l := newLog(t)
	l.stop()
	if err := l.Flush(t.Context()); cardbroker.ReasonOf(err) != cardbroker.Unavailable {
		t.Errorf("Flush() of a closed log = %v, want unavailable", err)
	}
	l.Record(nil, cardbroker.Event{Name: cardbroker.EventAdmin}) // is nobody's, and does not block
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l.start()
	if err := l.Flush(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Flush() = %v, want canceled", err)
	}
}
