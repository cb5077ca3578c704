// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package firewall_test

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/apdu"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/firewall"
)

// TestScript: steps are judged where the card may be when their turn comes.
func TestScript(t *testing.T) {
	const get = "00CB3FFF035C017E"
	selects := func(aid string, ok bool, next int) firewall.Step {
		command := raw(t, "00A404000B"+aid)
		return firewall.Step{Command: command, Known: len(command), OK: ok, Else: next}
	}
	step := func(digits string, next int) firewall.Step {
		command := raw(t, digits)
		return firewall.Step{Command: command, Known: len(command), OK: true, Else: next}
	}
	part := func(s firewall.Step, known int) firewall.Step {
		s.Known = known
		return s
	}
	for _, test := range []struct {
		name  string
		steps []firewall.Step
		want  string // a letter for each step: allowed, refused, invalid
	}{
		{"nothing", nil, ""},
		{"select, then read", []firewall.Step{selects(piv, true, firewall.Stop), step(get, firewall.Stop)}, "aa"},
		{"read, then select", []firewall.Step{step(get, firewall.Stop), selects(piv, true, firewall.Stop)}, "ra"},
		{"a selection that need not succeed", []firewall.Step{selects(piv, false, firewall.Stop), step(get, firewall.Stop)}, "ar"},
		{"a selection that may fail and goes on", []firewall.Step{selects(piv, true, 1), step(get, firewall.Stop)}, "ar"},
		{"a selection that may fail and goes to the end", []firewall.Step{selects(piv, true, 2), step(get, firewall.Stop)}, "aa"},
		{"either of two that may be read", []firewall.Step{selects(other, true, 3), selects(piv, true, 4), step(get, 4), selects(piv, true, 4), step(get, firewall.Stop)}, "aaaar"},
		{"another in between", []firewall.Step{selects(piv, true, firewall.Stop), selects(other, true, 3), selects(piv, true, firewall.Stop), step(get, firewall.Stop)}, "aaar"},
		{"a jump over a selection", []firewall.Step{selects(piv, true, firewall.Stop), step(get, 3), selects(other, true, firewall.Stop), step(get, firewall.Stop)}, "aaar"},
		{"a name that is not known", []firewall.Step{part(selects(piv, true, firewall.Stop), 5), step(get, firewall.Stop)}, "ar"},
		{"a name that is known as far as the rule's", []firewall.Step{part(selects(piv, true, firewall.Stop), 10), step(get, firewall.Stop)}, "aa"},
		{"data that are not known", []firewall.Step{selects(piv, true, firewall.Stop), part(step(get, firewall.Stop), 5)}, "aa"},
		{"a header that is not known", []firewall.Step{part(selects(piv, true, firewall.Stop), 3)}, "i"},
		{"back", []firewall.Step{step("00A4020C02011E", firewall.Stop), step("00A4020C02011E", 1)}, "ai"},
		{"beyond the end", []firewall.Step{step("00A4020C02011E", 2)}, "i"},
		{"before the beginning", []firewall.Step{step("00A4020C02011E", -2)}, "i"},
		{"no command", []firewall.Step{step("00A402", firewall.Stop)}, "i"},
		{"a PIN", []firewall.Step{selects(piv, true, firewall.Stop), step("0020008004313233340D", firewall.Stop)}, "ar"},
		{"GET RESPONSE", []firewall.Step{selects(piv, true, firewall.Stop), step("00C0000000", firewall.Stop)}, "ar"},
		{"a chained SELECT", []firewall.Step{step("10A404000B"+piv, firewall.Stop)}, "r"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := ""
			for _, err := range firewall.New(newRules(t, false, inPIV...), cardbroker.PINDeny).Script(test.steps, 0) {
				got += map[cardbroker.Reason]string{"": "a", cardbroker.Forbidden: "r", cardbroker.Invalid: "i"}[cardbroker.ReasonOf(err)]
			}
			if got != test.want {
				t.Errorf("Script = %s, want %s", got, test.want)
			}
		})
	}
}

// TestScriptInParts: a part may begin in its midst, and one that would follow another is judged from where that may leave the card.
func TestScriptInParts(t *testing.T) {
	selects, get := raw(t, "00A404000B"+piv), raw(t, "00CB3FFF035C017E")
	part := []firewall.Step{{Command: selects, Known: len(selects), OK: true, Else: firewall.Stop}, {Command: get, Known: len(get), OK: true, Else: firewall.Stop}}
	j := firewall.New(newRules(t, false, inPIV...), cardbroker.PINDeny)
	if v := j.ScriptOn(part[1:]); v[0] == nil {
		t.Error("a part that follows nothing is judged as if PIV were selected")
	}
	if v := j.Script(part, 1); v[0] != nil || v[1] == nil {
		t.Errorf("from the second step on the verdicts are %v, want a refusal of that", v)
	}
	if v := j.Script(part, 0); v[1] != nil {
		t.Errorf("the verdicts are %v", v)
	}
	if v := j.ScriptOn(part[1:]); v[0] != nil {
		t.Errorf("the part that follows: %v", v)
	}
	if j.Script(part[:0], 0); j.Check(get) == nil {
		t.Error("a script that was judged has changed the judge")
	}
	if v := j.Script(part, 2); v[0] != nil || v[1] != nil {
		t.Errorf("of what does not run the verdicts are %v", v)
	}
}

// TestScriptOfManyStates: more states than are kept apart are one of which nothing is known but what they have in common.
func TestScriptOfManyStates(t *testing.T) {
	var steps []firewall.Step
	add := func(digits string, next int) {
		command := raw(t, digits)
		steps = append(steps, firewall.Step{Command: command, Known: len(command), OK: true, Else: next})
	}
	const n = 12 // of each the second step may go to the end, with an application of its own selected
	for i := range n {
		add("00A4040006A00000030801", firewall.Stop)
		steps[len(steps)-1].Command[10] = byte(i)
		add("00CB3FFF035C017E", 2*n)
	}
	add("00CB3FFF035C017E", firewall.Stop)
	j := firewall.New(newRules(t, false, inPIV...), cardbroker.PINDeny)
	if last := j.Script(steps, 0)[2*n]; cardbroker.RuleOf(last) != cardbroker.RuleFirewall {
		t.Errorf("after %d applications of which one is selected, a step is judged %v, want a refusal", n, last)
	}
	few := append(append([]firewall.Step{}, steps[:12]...), steps[2*n])
	for i := range few {
		if few[i].Else != firewall.Stop {
			few[i].Else = len(few) - 1
		}
	}
	if last := j.Script(few, 0)[len(few)-1]; last != nil {
		t.Errorf("after 6 of them, which all may be read, it is judged %v, want nil", last)
	}
}

// The pools are small, so that rules and commands meet.
var (
	someClasses = rapid.SampledFrom([]byte{0x00, 0x01, 0x0C, 0x10, 0x41, 0x20, 0x80, 0x81, 0x84, 0x90, 0xA0, 0xC1, 0xFF})
	someINS     = rapid.SampledFrom([]byte{0xA4, 0xA4, 0xA4, 0xCB, 0xCA, 0xB0, 0xB1, 0xC0, 0x70, 0xC2, 0x20, 0x21, 0xA5, 0xDB})
	someAIDs    = rapid.SampledFrom([][]byte{{0xA0}, {0xA0, 0, 0, 3}, {0xA0, 0, 0, 3, 8}, {0xA0, 0, 0, 3, 8, 1}, {0xA0, 0, 0, 3, 9}, {0xA0, 0, 0, 4}})
	someRules   = rapid.Custom(drawRules)
	someCommand = rapid.Custom(drawCommand)
	someModes   = rapid.SampledFrom([]cardbroker.PINMode{cardbroker.PINDeny, cardbroker.PINAgent, cardbroker.PINPassthrough})
)

func drawRules(t *rapid.T) *firewall.Rules {
	one := rapid.Custom(func(t *rapid.T) (r firewall.Rule) {
		r.Allow, r.MaxLc = rapid.Bool().Draw(t, "allow"), -1
		if rapid.Bool().Draw(t, "with a class") {
			r.Class = &firewall.Class{Value: someClasses.Draw(t, "class"), Mask: rapid.SampledFrom([]byte{0xFF, 0xF0, 0x80}).Draw(t, "mask"), Masked: rapid.Bool().Draw(t, "masked")}
		}
		for range rapid.IntRange(0, 2).Draw(t, "instructions") {
			from := someINS.Draw(t, "from")
			r.INS = append(r.INS, firewall.Instruction{From: from, To: max(from, rapid.SampledFrom([]byte{0, 0, 0xFF}).Draw(t, "to"))})
		}
		switch rapid.IntRange(0, 3).Draw(t, "application") {
		case 0:
			r.None = true
		case 1, 2:
			r.AID = someAIDs.Draw(t, "aid")
		}
		if rapid.IntRange(0, 4).Draw(t, "parameters") == 0 {
			r.P1P2 = firewall.Parameters{Value: 0x0400, Mask: 0xFF00}
		}
		if r.Allow && rapid.IntRange(0, 4).Draw(t, "limited") == 0 {
			r.MaxLc = 5
		}
		return r
	})
	rules, err := firewall.NewRules("here", rapid.Bool().Draw(t, "default"), rapid.SliceOfN(one, 0, 6).Draw(t, "rules"))
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

func drawCommand(t *rapid.T) []byte {
	c := apdu.Command{CLA: someClasses.Draw(t, "class"), INS: someINS.Draw(t, "ins"), Extended: rapid.IntRange(0, 4).Draw(t, "extended") == 0}
	if c.INS == 0xA4 {
		c.P1 = rapid.SampledFrom([]byte{4, 4, 4, 4, 0, 2, 8}).Draw(t, "p1")
		c.P2 = rapid.SampledFrom([]byte{0, 0, 0, 0x0C, 2}).Draw(t, "p2")
		c.Data = someAIDs.Draw(t, "aid")
	} else {
		c.P2 = rapid.SampledFrom([]byte{0, 1}).Draw(t, "p2")
		c.Data = rapid.SliceOfN(rapid.Byte(), 0, 8).Draw(t, "data")
	}
	c.Le = rapid.SampledFrom([]int{0, 16}).Draw(t, "le")
	raw, err := c.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// drawAnswer draws what a card answers that does not say of itself that it is another.
func drawAnswer(t *rapid.T, ok bool) []byte {
	if ok {
		return rapid.SampledFrom([][]byte{{0x90, 0}, {0x61, 4}, {0x62, 0x83}, {1, 0x90, 0}}).Draw(t, "answer")
	}
	return rapid.SampledFrom([][]byte{{0x6A, 0x82}, {0x69, 0x99}, {0x6C, 4}, nil}).Draw(t, "answer")
}

// walk has the judge see some commands that it allows.
func walk(t *rapid.T, judges ...*firewall.Judge) {
	for range rapid.IntRange(0, 6).Draw(t, "before") {
		command := someCommand.Draw(t, "command before")
		answer := drawAnswer(t, rapid.Bool().Draw(t, "ok"))
		for _, j := range judges {
			j.Saw(command, answer)
		}
	}
}

// TestFixedIsFixed: whatever the rules, and whatever was before, nothing is allowed that every tenant is forbidden, but for MANAGE CHANNEL and
// ENVELOPE; and those not by default, nor by a rule that does not name them.
func TestFixedIsFixed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules, mode := someRules.Draw(t, "rules"), someModes.Draw(t, "mode")
		j := firewall.New(rules, mode)
		walk(t, j)
		command := someCommand.Draw(t, "command")
		wraps := command[1] == 0x70 || command[1] == 0xC2
		bare := firewall.New(nil, mode).Check(command)
		place, err := j.Explain(command)
		if err == nil && bare != nil && (!wraps || place == "here.default" || command[0] == 0xFF) {
			t.Errorf("% X is allowed by %s, though no tenant may: %v", command, place, bare)
		}
	})
}

// TestUnknownIsStrictest: what is allowed when nothing is known of the card is allowed wherever it is.
func TestUnknownIsStrictest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules, mode := someRules.Draw(t, "rules"), someModes.Draw(t, "mode")
		known := firewall.New(rules, mode)
		if rapid.Bool().Draw(t, "reset") {
			known.Reset()
		}
		for range rapid.IntRange(0, 3).Draw(t, "selections") {
			aid := someAIDs.Draw(t, "selected")
			known.Saw(append([]byte{byte(rapid.IntRange(0, 1).Draw(t, "channel")), 0xA4, 4, 0, byte(len(aid))}, aid...), []byte{0x90, 0})
		}
		command := someCommand.Draw(t, "command")
		if err := known.Check(command); err != nil && firewall.New(rules, mode).Check(command) == nil {
			t.Errorf("% X is allowed when nothing is known, but here: %v", command, err)
		}
	})
}

// TestRepetition: a command with another Le, as 6Cxx asks for it, is judged as the command.
func TestRepetition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j := firewall.New(someRules.Draw(t, "rules"), someModes.Draw(t, "mode"))
		walk(t, j)
		command := someCommand.Draw(t, "command")
		c, err := apdu.ParseCommand(command)
		if err != nil {
			t.Fatal(err)
		}
		first := j.Check(command)
		if first == nil {
			j.Saw(command, []byte{0x6C, 8})
		}
		c.Le = 8
		again, _ := c.Append(nil)
		if second := j.Check(again); first == nil && second != nil {
			t.Errorf("% X is allowed, % X after 6C08 is not: %v", command, again, second)
		}
	})
}

// TestScriptIsCommands: a step that a script may have is allowed when its turn comes, however the card answers until then, wherever that
// leads, and whatever the data are that were not known.
func TestScriptIsCommands(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j := firewall.New(someRules.Draw(t, "rules"), someModes.Draw(t, "mode"))
		walk(t, j)
		steps := make([]firewall.Step, rapid.IntRange(1, 20).Draw(t, "steps"))
		for i := range steps {
			command := someCommand.Draw(t, "step")
			steps[i] = firewall.Step{Command: command, Known: rapid.SampledFrom([]int{len(command), len(command), 4, 7}).Draw(t, "known"),
				OK: rapid.Bool().Draw(t, "must succeed"), Else: rapid.SampledFrom([]int{firewall.Stop, i + 1, rapid.IntRange(i+1, len(steps)).Draw(t, "later")}).Draw(t, "else")}
		}
		verdicts := j.Script(steps, 0)
		for i := 0; i >= 0 && i < len(steps); {
			if verdicts[i] != nil { // such a script does not run, and this is as far as it would
				return
			}
			command := steps[i].Command
			if known := steps[i].Known; known < len(command) {
				command = fill(t, command, known)
			}
			if err := j.Check(command); err != nil {
				t.Fatalf("step %d, % X: the script may, the command not: %v", i, command, err)
			}
			ok := rapid.Bool().Draw(t, "succeeds")
			j.Saw(command, drawAnswer(t, ok))
			switch {
			case ok && steps[i].OK || !steps[i].OK && rapid.Bool().Draw(t, "expected"):
				i++
			default:
				i = steps[i].Else
			}
		}
	})
}

// fill puts some data in the place of those that are not known.
func fill(t *rapid.T, command []byte, known int) []byte {
	c, err := apdu.ParseCommand(command)
	if err != nil {
		t.Fatal(err)
	}
	head := 5
	if c.Extended {
		head = 7
	}
	filled := bytes.Clone(command)
	for i := max(head, known); i < head+len(c.Data); i++ {
		filled[i] = rapid.SampledFrom([]byte{0xA0, 0, 3, 4, 8, 9}).Draw(t, "data")
	}
	return filled
}

// TestScriptIsNoStricter: of a script without branches, which ends where a command fails, each step has the verdict that the command would
// have; GET RESPONSE, which may belong to the command before it, apart.
func TestScriptIsNoStricter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j := firewall.New(someRules.Draw(t, "rules"), someModes.Draw(t, "mode"))
		walk(t, j)
		steps := make([]firewall.Step, rapid.IntRange(1, 20).Draw(t, "steps"))
		for i := range steps {
			command := rapid.Custom(drawCommand).Filter(func(c []byte) bool { return c[1] != 0xC0 }).Draw(t, "step")
			steps[i] = firewall.Step{Command: command, Known: len(command), OK: true, Else: firewall.Stop}
		}
		for i, verdict := range j.Script(steps, 0) {
			if err := j.Check(steps[i].Command); (err == nil) != (verdict == nil) {
				t.Fatalf("step %d: the script says %v, the command %v", i, verdict, err)
			}
			j.Saw(steps[i].Command, []byte{0x90, 0})
		}
	})
}

// FuzzScript reads rules and a script from bytes and holds the same: nothing panics, nothing is allowed that every tenant is
// forbidden, the script's verdict is that of its commands, and no refusal shows data.
func FuzzScript(f *testing.F) {
	f.Add([]byte{1, 0xA4, 0, 5, 0xA0, 0, 0, 3, 8}, []byte{10, 0, 0xA4, 4, 0, 5, 0xA0, 0, 0, 3, 8, 8, 0, 0xCB, 0x3F, 0xFF, 3, 0x5C, 1, 0x7E})
	f.Add([]byte{0, 0x20, 1, 0}, []byte{9, 0, 0x20, 0, 0x80, 4, '1', '2', '3', '4'})
	f.Add([]byte{1, 0x70, 0, 0, 1, 0xC2, 0, 0}, []byte{5, 0, 0x70, 0, 0, 1, 5, 0x10, 0xC2, 0, 0, 1})
	f.Add([]byte{3, 0xE4, 0x80, 0}, []byte{4, 0x81, 0xE4, 0, 0, 4, 0xFF, 0xE4, 0, 0, 4, 0x20, 0xE4, 0, 0})
	f.Fuzz(func(t *testing.T, rules, script []byte) {
		compiled, err := firewall.NewRules("here", len(rules)%2 == 0, readRules(rules))
		if err != nil {
			return
		}
		var steps []firewall.Step
		for len(script) > 0 && len(script) > int(script[0]) && len(steps) < 64 {
			command := script[1 : 1+int(script[0])]
			script = script[1+int(script[0]):]
			steps = append(steps, firewall.Step{Command: command, Known: len(command), OK: true, Else: firewall.Stop})
		}
		j := firewall.New(compiled, cardbroker.PINDeny)
		for i, verdict := range j.Script(steps, 0) {
			command := steps[i].Command
			err := j.Check(command)
			if (err == nil) != (verdict == nil) {
				t.Errorf("step %d, % X: the script says %v, the command %v", i, command, verdict, err)
			}
			if bare := firewall.New(nil, cardbroker.PINDeny).Check(command); err == nil && bare != nil && command[1]&0xFE != 0xC2 && command[1] != 0x70 {
				t.Errorf("% X is allowed, though no tenant may: %v", command, bare)
			}
			j.Saw(command, []byte{0x90, 0})
		}
	})
}

// readRules makes rules of bytes: flags, instruction, class, length of the AID, AID.
func readRules(b []byte) (rules []firewall.Rule) {
	for len(b) >= 4 {
		r := firewall.Rule{Allow: b[0]&1 != 0, INS: []firewall.Instruction{{From: b[1], To: b[1]}}, MaxLc: -1}
		if b[0]&2 != 0 {
			r.Class = &firewall.Class{Value: b[2], Mask: 0xFF, Masked: b[0]&4 != 0}
		}
		n := min(int(b[3]), 16, len(b)-4)
		r.None = b[0]&8 != 0
		r.AID, b = b[4:4+n], b[4+n:]
		rules = append(rules, r)
	}
	return rules
}

// BenchmarkScript: as many steps as a script may have, each of which may go on or jump, and as many rules as there may be.
func BenchmarkScript(b *testing.B) {
	j, command := worst(b)
	selects := raw(b, "00A4040006A00000030801")
	steps := make([]firewall.Step, 256)
	for i := range steps {
		steps[i] = firewall.Step{Command: command, Known: len(command), Else: min(i+3, len(steps))}
		if i%2 == 0 {
			steps[i].Command, steps[i].OK = append([]byte{}, selects...), true
			steps[i].Command[10] = byte(i)
		}
	}
	for b.Loop() {
		j.Script(steps, 0)
	}
}
