// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package firewall_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/firewall"
)

func newRules(t testing.TB, allow bool, rules ...firewall.Rule) *firewall.Rules {
	t.Helper()
	r, err := firewall.NewRules("tenants.issuer.firewall", allow, rules)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestStories are commands with their answers, and which rule decides on each: * before it stands for a refusal. "reset" and "forget" are
// what becomes of the card.
func TestStories(t *testing.T) {
	const get = "00CB3FFF035C017E"
	inPIV := []firewall.Rule{
		{Class: &firewall.Class{}, INS: []firewall.Instruction{span(0xD6)}, MaxLc: -1},
		{Allow: true, AID: []byte{0xA0, 0, 0, 3, 8}, INS: []firewall.Instruction{span(0xA4), span(0xCB)}, MaxLc: -1},
		{Allow: true, None: true, INS: []firewall.Instruction{span(0xCA)}, MaxLc: -1},
		{Allow: true, Class: &firewall.Class{Value: 0x80, Mask: 0xFC, Masked: true}, INS: []firewall.Instruction{span(0x50)}, P1P2: firewall.Parameters{Value: 0x0100, Mask: 0xFF00}, MaxLc: 8},
		{Allow: true, INS: []firewall.Instruction{span(0x70)}, MaxLc: -1},
		{Allow: true, INS: []firewall.Instruction{span(0x20)}, MaxLc: -1},
		{Allow: true, INS: []firewall.Instruction{span(0xA5), span(0xC2)}, MaxLc: -1},
		{Allow: true, Class: &firewall.Class{}, INS: []firewall.Instruction{span(0x84)}, MaxLc: -1},
		{Allow: true, AID: []byte{0xA0, 0, 0, 3, 8}, P1P2: firewall.Parameters{Value: 0x0800, Mask: 0xFF00}, INS: []firewall.Instruction{span(0xB0)}, MaxLc: -1},
	}
	notOther := append([]firewall.Rule{{AID: raw(t, other), MaxLc: -1}}, inPIV[1:]...)
	for _, story := range []struct {
		name string
		told string // COMMAND ANSWER RULE; …
	}{
		{"selected by its whole name", "00A404000B" + piv + " 9000 rules[1]; " + get + " 9000 rules[1]"},
		{"selected by the rule's whole name", "00A4040005A000000308 61FF rules[1]; " + get + " 9000 rules[1]"},
		{"with a warning", "00A404000B" + piv + " 6283 rules[1]; " + get + " 9000 rules[1]"},
		{"with an answer that names it", "00A404000B" + piv + " 6F0D840B" + piv + "9000 rules[1]; " + get + " 9000 rules[1]"},
		{"with an answer that names part of it", "00A404000B" + piv + " 6F078405A0000003089000 rules[1]; " + get + " 9000 rules[1]"},
		{"with an answer that names something else", "00A404000B" + piv + " 61084F0600001000010079009000 rules[1]; " + get + " 9000 rules[1]"},
		{"before anything was selected", get + " - *default"},
		{"another application", "00A404000B" + other + " - *rules[0]"},
		{"by part of the name that a rule denies", "00A4040004A0000003 - *rules[0]"},
		{"an EF below it", "00A404000B" + piv + " 9000 rules[1]; 00A4020C02011E 9000 rules[1]; " + get + " 9000 rules[1]"},
		{"something else by its number", "00A404000B" + piv + " 9000 rules[1]; 00A4000C02011E 9000 rules[1]; " + get + " - *default"},
		{"the same, of which the denied may be one", "00A404000B" + piv + " 9000 rules[1]; 00A4000C02011E 9000 rules[1]; " + get + " - *rules[0]"},
		{"the rest of an answer", "00A404000B" + piv + " 6110 rules[1]; 00C0000010 6C08 fixed; 00C0000008 6108 fixed; 00C0000008 9000 fixed; 00C0000008 - *default"},
		{"the rest of an answer on another channel", "01A404000B" + piv + " 9000 rules[1]; 0DCB3FFF035C017E 6110 rules[1]; 01C0000010 9000 fixed; " + get + " - *default"},
		{"once more with the right Le", "00A404000B" + piv + " 9000 rules[1]; " + get + "01 6C10 rules[1]; " + get + "10 9000 rules[1]"},
		{"a SELECT once more with the right Le", "00A404000B" + piv + "01 6C10 rules[1]; " + get + " - *default; 00A404000B" + piv + "10 9000 rules[1]; " + get + " 9000 rules[1]"},
		{"a failed SELECT", "00A404000B" + piv + " 6A82 rules[1]; " + get + " - *rules[0]"},
		{"nothing selected since a reset", "00CA9F7F00 - *default; reset; 00CA9F7F00 9000 rules[2]; 00A404000B" + piv + " 9000 rules[1]; 00CA9F7F00 - *default"},
		{"the card's default application after a reset, which may be denied", "reset; 00CA9F7F00 - *rules[0]"},
		{"a forgotten application", "00A404000B" + piv + " 9000 rules[1]; forget; " + get + " - *default"},
		{"a proprietary class, masked", "80500100080102030405060708 9000 rules[3]; 8250010008010203040506070800 9000 rules[3]; 8450010008010203040506070800 - *default; 80500200080102030405060708 - *default; 8050010009010203040506070809 - *default; 90500100080102030405060708 - *default"},
		{"a proprietary class on a channel", "0070000001 019000 rules[4]; 01A404000B" + piv + " 9000 rules[1]; 81CB3FFF035C017E - *default; 00A404000B" + piv + " 9000 rules[1]; 81CB3FFF035C017E 9000 rules[1]"},
		{"a channel of a card that may have one alone", "01A404000B" + piv + " 9000 rules[1]; 01CB3FFF035C017E 9000 rules[1]; 00A404000B" + piv + " 9000 rules[1]; 01CB3FFF035C017E - *default; " + get + " 9000 rules[1]"},
		{"SELECT in a class that may name a channel", "0070000001 019000 rules[4]; 00A404000B" + piv + " 9000 rules[1]; 01A404000B" + piv + " 9000 rules[1]; 81A40000023F00 9000 rules[1]; " + get + " - *default"},
		{"MANAGE CHANNEL in another class, which may be anything", "8070000001 019000 rules[4]; 01A404000B" + piv + " 9000 rules[1]; 00A404000B" + piv + " 9000 rules[1]; 01CB3FFF035C017E - *default; 8070800000 9000 rules[4]; " + get + " - *default"},
		{"SELECT by name in another class", "00A404000B" + piv + " 9000 rules[1]; 80A404000B" + other + " - *default; " + get + " 9000 rules[1]"},
		{"channels", "0070000001 019000 rules[4]; 01A404000B" + piv + " 9000 rules[1]; 0070000001 029000 rules[4]; 01CB3FFF035C017E 9000 rules[1]; 0070800100 9000 rules[4]; 01CB3FFF035C017E - *default"},
		{"a far channel", "41A404000B" + piv + " 9000 rules[1]; 41CB3FFF035C017E 9000 rules[1]; 01CB3FFF035C017E - *default; 45CB3FFF035C017E - *default"},
		{"the odd code of SELECT", "00A404000B" + piv + " 9000 rules[1]; 00A504000B" + other + " 9000 rules[6]; " + get + " - *default"},
		{"ENVELOPE, which a rule names", "00A404000B" + piv + " 9000 rules[1]; 00C20000050070000001 9000 rules[6]; " + get + " - *default"},
		{"the interindustry classes", "0084000008 9000 rules[7]; 0C84000008 9000 rules[7]; 5F84000008 9000 rules[7]; 2084000008 - *fixed; 8084000008 - *default"},
		{"SELECT within a chain", "108400000411223344 9000 rules[7]; 00A404000B" + piv + " - *default; 0084000008 9000 rules[7]; 00A404000B" + piv + " 9000 rules[1]"},
		{"another SELECT once more with the right Le", "00A404000B" + piv + " 9000 rules[1]; 00A4080C043F00500000 6C10 rules[1]; 00A4080C043F00500010 9000 rules[1]; " + get + " - *default"},
		{"not the one that asked for it", "00A404000B" + piv + " 9000 rules[1]; 00A4080C043F00500000 6C10 rules[1]; 00A4080C023F0000 - *default"},
		{"the rest of an answer that nobody knows", "00A404000B" + piv + " 6110 rules[1]; " + get + " ? rules[1]; 00C0000010 - *default"},
		{"channels without a number", "01A404000B" + piv + " 9000 rules[1]; 0070000001 9000 rules[4]; 01CB3FFF035C017E - *default"},
		{"a PIN, which only the mode allows", "0020008004313233340D - *fixed; 0020008000 - *fixed"},
		{"no command", "00CB - *"},
	} {
		t.Run(story.name, func(t *testing.T) {
			rules := inPIV
			if strings.Contains(story.told, "*rules[0]") {
				rules = notOther
			}
			j := firewall.New(newRules(t, false, rules...), cardbroker.PINDeny)
			for told := range strings.SplitSeq(story.told, "; ") {
				switch told {
				case "reset":
					j.Reset()
					continue
				case "forget":
					j.Forget()
					continue
				}
				part := strings.Fields(told)
				place, err := j.Explain(raw(t, part[0]))
				want, refused := strings.CutPrefix(part[2], "*")
				if (err != nil) != refused || strings.TrimPrefix(place, "tenants.issuer.firewall.") != want {
					t.Fatalf("Explain(%s) = %s, %v; want %s", part[0], place, err, part[2])
				}
				if err == nil {
					j.Saw(raw(t, part[0]), raw(t, strings.TrimPrefix(part[1], "?")))
				}
			}
		})
	}
}

// TestRefusal: a refusal names the command and the rule, and nothing of the data.
func TestRefusal(t *testing.T) {
	j := firewall.New(newRules(t, true, firewall.Rule{INS: []firewall.Instruction{span(0xDB)}, MaxLc: -1}), cardbroker.PINDeny)
	err := j.Check(raw(t, "00DB3FFF04DEADBEEF"))
	if want := "PUT DATA (00 DB 3F FF) is not allowed by tenants.issuer.firewall.rules[0]"; err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "DE") {
		t.Errorf("Check = %v, want %q", err, want)
	}
}

// TestEntered: a command into which the user enters his PIN is held against the rules, whatever the PIN mode says.
func TestEntered(t *testing.T) {
	verify, change := [4]byte{0, 0x20, 0, 0x80}, [4]byte{0, 0x24, 0, 0x80}
	if err := firewall.New(nil, cardbroker.PINAgent).CheckEntered(verify); err != nil {
		t.Errorf("without rules VERIFY = %v", err)
	}
	j := firewall.New(newRules(t, false, firewall.Rule{Allow: true, AID: raw(t, piv), INS: []firewall.Instruction{span(0x20), span(0xA4)}, MaxLc: -1}), cardbroker.PINAgent)
	if err := j.CheckEntered(verify); cardbroker.RuleOf(err) != cardbroker.RuleFirewall {
		t.Errorf("in no application VERIFY = %v, want a refusal", err)
	}
	j.Saw(raw(t, "00A404000B"+piv), raw(t, "9000"))
	if err := j.CheckEntered(verify); err != nil {
		t.Errorf("VERIFY = %v, want nil", err)
	}
	if err := j.CheckEntered(change); cardbroker.RuleOf(err) != cardbroker.RuleFirewall {
		t.Errorf("CHANGE REFERENCE DATA = %v, want a refusal", err)
	}
}

// TestRulesErrors: a list that is too long or contradicts itself is Invalid.
func TestRulesErrors(t *testing.T) {
	for name, rules := range map[string][]firewall.Rule{
		"too many":             make([]firewall.Rule, firewall.MaxRules+1),
		"a long AID":           {{AID: make([]byte, 17), MaxLc: -1}},
		"a limit on a refusal": {{MaxLc: 5}},
	} {
		if _, err := firewall.NewRules("here", false, rules); cardbroker.ReasonOf(err) != cardbroker.Invalid {
			t.Errorf("%s: NewRules = %v, want invalid", name, err)
		}
	}
}

// TestTally: of many refusals a few are told of, and none is left out of the counts.
func TestTally(t *testing.T) {
	var tally firewall.Tally
	at := time.Unix(1000, 0)
	told, events := uint64(0), 0
	for i := range 10_000 { // ten seconds
		for rule := range 20 {
			if n := tally.Refused(fmt.Sprint(rule), at.Add(time.Duration(i)*time.Millisecond)); n > 0 {
				told += n
				events++
			}
		}
	}
	if events > 8+10 || events < 10 {
		t.Errorf("%d events in ten seconds, want 10 to 18", events)
	}
	if rest := tally.Rest(); told+rest != 200_000 {
		t.Errorf("told of %d and %d are left, want 200000 together", told, rest)
	}
	var one firewall.Tally
	if n := one.Refused("a", at); n != 1 || one.Refused("a", at.Add(time.Second/2)) != 0 || one.Refused("a", at.Add(time.Second)) != 2 {
		t.Errorf("the first of a rule tells of %d, want 1, then 0 within the second and 2 after it", n)
	}
}

// TestCheckAllocatesNothing on the way of a command that is allowed.
func TestCheckAllocatesNothing(t *testing.T) {
	j, command := worst(t)
	selects, ok := raw(t, "00A404000B"+piv), raw(t, "9000")
	if n := testing.AllocsPerRun(100, func() { j.Check(command); j.Check(selects); j.Saw(command, ok) }); n != 0 {
		t.Errorf("Check and Saw allocate %v times, want 0", n)
	}
}

// worst returns a judge with as many rules as there may be, of which the last decides on the command.
func worst(t testing.TB) (*firewall.Judge, []byte) {
	rules := make([]firewall.Rule, firewall.MaxRules)
	for i := range rules {
		rules[i] = firewall.Rule{Allow: true, AID: raw(t, other), INS: []firewall.Instruction{span(0xCB)}, MaxLc: -1}
	}
	return firewall.New(newRules(t, true, rules...), cardbroker.PINDeny), raw(t, "00CB3FFF035C017E")
}

// BenchmarkCheck: few rules, as in docs/firewall.md, and as many as there may be.
func BenchmarkCheck(b *testing.B) {
	b.Run("10 rules", func(b *testing.B) {
		rules := make([]firewall.Rule, 10)
		for i := range rules {
			rules[i] = firewall.Rule{Allow: true, AID: raw(b, piv), INS: []firewall.Instruction{span(byte(0xA4 + i))}, MaxLc: -1}
		}
		j := firewall.New(newRules(b, false, rules...), cardbroker.PINDeny)
		j.Saw(raw(b, "00A404000B"+piv), raw(b, "9000"))
		command := raw(b, "00AD3FFF035C017E")
		b.ReportAllocs()
		for b.Loop() {
			if j.Check(command) != nil {
				b.Fatal("refused")
			}
		}
	})
	b.Run("most rules", func(b *testing.B) {
		j, command := worst(b)
		b.ReportAllocs()
		for b.Loop() {
			if j.Check(command) != nil {
				b.Fatal("refused")
			}
		}
	})
}
