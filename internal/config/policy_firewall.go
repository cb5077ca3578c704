// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/apdu"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/firewall"
)

// maxTests is how many tests, and commands in one, a tenant's firewall may have: they run whenever an agent starts.
const maxTests = 256

// firewallText is what a file says of a tenant's firewall. A list that is nil was not there.
type firewallText struct {
	Default *string    `yaml:"default"`
	Rules   []ruleText `yaml:"rules"`
	Tests   []testText `yaml:"tests"`
}

// ruleText is one rule. What is a number is taken as it is written, in hexadecimal digits.
type ruleText struct {
	Action string   `yaml:"action"` // allow or deny
	CLA    *hexText `yaml:"cla"`    // 80, or with a mask: 80/F3
	INS    hexList  `yaml:"ins"`    // CA, or a list, in which 20-2F is a range
	P1P2   *hexText `yaml:"p1p2"`   // 3FFF, or with a mask: 0400/FF00
	AID    *hexText `yaml:"aid"`    // its first bytes, none or any
	LcMax  *int     `yaml:"lc_max"` // bytes
	Note   string   `yaml:"note"`
}

// UnmarshalYAML implements yaml.InterfaceUnmarshaler. A key without a value is refused: without it the rule is about more.
func (t *ruleText) UnmarshalYAML(unmarshal func(any) error) error {
	var keys map[string]any
	if err := unmarshal(&keys); err != nil {
		return err
	}
	for key, value := range keys {
		if value == nil {
			return fmt.Errorf("%s has no value", key)
		}
	}
	type plain ruleText
	return unmarshal((*plain)(t))
}

// testText is one test: a command, or a script.
type testText struct {
	Name    string        `yaml:"name"`
	Select  *hexText      `yaml:"select"` // an AID
	Command *hexText      `yaml:"command"`
	SW      *hexText      `yaml:"sw"`
	Want    string        `yaml:"want"`
	Rule    string        `yaml:"rule"`
	Script  []commandText `yaml:"script"`
}

// commandText is one command of a test.
type commandText struct {
	Command *hexText `yaml:"command"`
	SW      *hexText `yaml:"sw"`   // the card's answer; 9000
	Want    string   `yaml:"want"` // allow or deny
	Rule    string   `yaml:"rule"` // rules[2], default or fixed; any
}

// hexText is a scalar as it stands in the file: 00, 20, 1E5 and 0400 are no numbers here.
type hexText string

// UnmarshalYAML implements yaml.BytesUnmarshaler.
func (h *hexText) UnmarshalYAML(raw []byte) error {
	text := strings.TrimSpace(string(raw))
	for _, quote := range []string{`"`, "'"} {
		if inner, ok := strings.CutPrefix(text, quote); ok {
			if text, ok = strings.CutSuffix(inner, quote); !ok {
				return fmt.Errorf("want hexadecimal digits, got %s", raw)
			}
			break
		}
	}
	if text == "" || strings.ContainsAny(text, "\n[]{}\"'#&*!|>%@`\\:,") {
		return fmt.Errorf("want hexadecimal digits, got %s", raw)
	}
	*h = hexText(text)
	return nil
}

// hexList is one such scalar, or a list of them.
type hexList []hexText

// UnmarshalYAML implements yaml.InterfaceUnmarshaler.
func (l *hexList) UnmarshalYAML(unmarshal func(any) error) error {
	var one hexText
	if unmarshal(&one) == nil {
		*l = hexList{one}
		return nil
	}
	return unmarshal((*[]hexText)(l))
}

// bytes reads hexadecimal digits, between which there may be spaces.
func (h hexText) bytes(least, most int) ([]byte, error) {
	raw, err := hex.DecodeString(strings.ReplaceAll(string(h), " ", ""))
	if err != nil || len(raw) < least || len(raw) > most {
		return nil, fmt.Errorf("%q, want %d to %d bytes in hexadecimal digits", string(h), least, most)
	}
	return raw, nil
}

// number reads a value of so many bits, two hexadecimal digits for eight of them.
func (h hexText) number(bits int) (uint64, error) {
	n, err := strconv.ParseUint(string(h), 16, bits)
	if err != nil || len(h) != bits/4 {
		return 0, fmt.Errorf("%q, want %d hexadecimal digits", string(h), bits/4)
	}
	return n, nil
}

// masked reads a value, and a mask behind a slash if there is one.
func (h hexText) masked(bits int) (value, mask uint64, masked bool, err error) {
	first, second, masked := strings.Cut(string(h), "/")
	if value, err = hexText(first).number(bits); err != nil || !masked {
		return value, 1<<bits - 1, false, err
	}
	if mask, err = hexText(second).number(bits); err == nil && value&^mask != 0 {
		err = fmt.Errorf("%q has bits that its mask leaves out", string(h))
	}
	return value, mask, true, err
}

// rule reads a rule; an error begins with its key.
func (t ruleText) rule() (r firewall.Rule, err error) {
	r.MaxLc, r.Note = -1, t.Note
	if r.Allow, err = allows(t.Action); err != nil {
		return r, fmt.Errorf("action: %w", err)
	}
	if t.CLA != nil {
		value, mask, masked, err := t.CLA.masked(8)
		if err != nil {
			return r, fmt.Errorf("cla: %w", err)
		}
		r.Class = &firewall.Class{Value: byte(value), Mask: byte(mask), Masked: masked}
	}
	if t.INS != nil && len(t.INS) == 0 {
		return r, errors.New("ins: an empty list; leave it out for every instruction")
	}
	for _, text := range t.INS {
		from, to, isRange := strings.Cut(string(text), "-")
		if !isRange {
			to = from
		}
		a, err := hexText(from).number(8)
		b, err2 := hexText(to).number(8)
		if err = errors.Join(err, err2); err != nil || isRange && b <= a {
			return r, fmt.Errorf("ins: %q, want two hexadecimal digits, or a range such as B0-B3", string(text))
		}
		r.INS = append(r.INS, firewall.Instruction{From: byte(a), To: byte(b)})
	}
	if t.P1P2 != nil {
		value, mask, _, err := t.P1P2.masked(16)
		if err != nil {
			return r, fmt.Errorf("p1p2: %w", err)
		}
		r.P1P2 = firewall.Parameters{Value: uint16(value), Mask: uint16(mask)}
	}
	if t.AID != nil {
		switch *t.AID {
		case "any":
		case "none":
			r.None = true
		default:
			if r.AID, err = t.AID.bytes(1, 16); err != nil {
				return r, fmt.Errorf("aid: %w, or none or any", err)
			}
		}
	}
	if t.LcMax != nil {
		if *t.LcMax < 0 || *t.LcMax > apdu.MaxData || !r.Allow {
			return r, fmt.Errorf("lc_max: %d, want 0 to %d, in a rule that allows", *t.LcMax, apdu.MaxData)
		}
		r.MaxLc = *t.LcMax
	}
	return r, nil
}

func allows(word string) (bool, error) {
	if word != "allow" && word != "deny" {
		return false, fmt.Errorf("%q, want allow or deny", word)
	}
	return word == "allow", nil
}

// test reads a test; an error begins with its key.
func (t testText) test(place string) (c firewall.Case, err error) {
	c.Name, c.Place = t.Name, place
	if t.Select != nil {
		if c.Select, err = t.Select.bytes(1, 16); err != nil {
			return c, fmt.Errorf("select: %w", err)
		}
	}
	commands, one := t.Script, commandText{t.Command, t.SW, t.Want, t.Rule}
	alone := one != commandText{}
	if alone && t.Script == nil {
		commands = []commandText{one}
	}
	if len(commands) == 0 || len(commands) > maxTests || alone && t.Script != nil {
		return c, fmt.Errorf("want command and want, or a script of 1 to %d of them", maxTests)
	}
	for i, text := range commands {
		step, err := text.step()
		if err != nil && t.Script != nil {
			err = fmt.Errorf("script[%d].%w", i, err)
		}
		if err != nil {
			return c, err
		}
		c.Steps = append(c.Steps, step)
	}
	return c, nil
}

func (t commandText) step() (s firewall.CaseStep, err error) {
	if t.Command == nil {
		return s, errors.New("command: it is missing")
	}
	if s.Command, err = t.Command.bytes(1, apdu.MaxCommand); err != nil {
		return s, fmt.Errorf("command: %w", err)
	}
	if t.SW != nil {
		sw, err := t.SW.number(16)
		if err != nil {
			return s, fmt.Errorf("sw: %w", err)
		}
		s.SW = apdu.StatusWord(sw)
	}
	if s.Allow, err = allows(t.Want); err != nil {
		return s, fmt.Errorf("want: %w", err)
	}
	s.Rule = t.Rule
	return s, nil
}

// Firewall is what policy says of a tenant's firewall.
type Firewall struct {
	Default string // allow or deny; deny unless something else is said
	Rules   []firewall.Rule
	Tests   []firewall.Case

	compiled *firewall.Rules
}

// Compiled returns the rules as a [firewall.Judge] takes them: nil where policy says nothing.
func (f *Firewall) Compiled() *firewall.Rules {
	if f == nil {
		return nil
	}
	return f.compiled
}

// load puts what a file says over what was read before, and returns that. All that is wrong is told of.
func (f *Firewall) load(path, tenant string, said firewallText) (*Firewall, error) {
	place := "tenants." + tenant + ".firewall"
	next := &Firewall{Default: "deny"}
	if f != nil {
		*next = *f
	}
	var problems []error
	note := func(format string, args ...any) { problems = append(problems, wrong(path, format, args...)) }
	if said.Default != nil {
		if _, err := allows(*said.Default); err != nil {
			note("%s.default: %v", place, err)
		}
		next.Default = *said.Default
	}
	if said.Rules != nil {
		next.Rules = make([]firewall.Rule, len(said.Rules))
		for i, text := range said.Rules {
			var err error
			if next.Rules[i], err = text.rule(); err != nil {
				note("%s.rules[%d].%v", place, i, err)
			}
		}
	}
	if len(said.Tests) > maxTests {
		note("%s.tests: %d tests, want %d or fewer", place, len(said.Tests), maxTests)
	} else if said.Tests != nil {
		next.Tests = make([]firewall.Case, len(said.Tests))
		for i, text := range said.Tests {
			var err error
			at := fmt.Sprintf("%s.tests[%d]", place, i)
			if next.Tests[i], err = text.test(at); err != nil {
				note("%s.%v", at, err)
			}
		}
	}
	if len(problems) == 0 {
		var err error
		if next.compiled, err = firewall.NewRules(place, next.Default == "allow", next.Rules); err != nil {
			note("%s", shownText(err))
		}
	}
	return next, errors.Join(problems...)
}

// FirewallTest is one test of a tenant's firewall, and what came of it.
type FirewallTest struct {
	Tenant cardbroker.Tenant
	Test   string // its place
	Name   string
	Err    error // nil: passed
}

// FirewallTests runs the tests of all tenants' firewalls, in the order of their names.
func (p Policy) FirewallTests() (done []FirewallTest) {
	for _, name := range p.names() {
		tenant := p.tenants[name]
		if tenant.Firewall == nil || tenant.Firewall.compiled == nil {
			continue
		}
		for _, test := range tenant.Firewall.Tests {
			done = append(done, FirewallTest{name, test.Place, test.Name, tenant.Firewall.compiled.Try(tenant.PIN, test)})
		}
	}
	return done
}

// checkFirewalls refuses a policy whose own tests fail: it is not what its author thinks it is.
func (p *Policy) checkFirewalls(dir string) error {
	var problems []error
	for _, test := range p.FirewallTests() {
		if test.Err != nil {
			problems = append(problems, wrong(dir, "%s", shownText(test.Err)))
		}
	}
	return errors.Join(problems...)
}

func shownText(err error) string {
	if e, ok := errors.AsType[*cardbroker.Error](err); ok {
		return e.Message
	}
	return err.Error()
}
