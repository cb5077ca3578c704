// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/firewall"
)

// firewallOf loads what stands below tenants.issuer.firewall.
func firewallOf(t testing.TB, text string) (*config.Firewall, error) {
	t.Helper()
	indented := "tenants:\n  issuer:\n    firewall:\n      " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n      ") + "\n"
	p, err := config.LoadPolicy(policyDir(t, map[string]string{"1.yaml": indented}))
	return p.Tenant("issuer").Firewall, err
}

// TestFirewallRules: digits are taken as they are written, whatever else YAML would make of them: 00, 0400 and 1E5 are
// numbers there.
func TestFirewallRules(t *testing.T) {
	f, err := firewallOf(t, `
rules:
  - {action: allow, cla: 00, ins: [20, 0E, B0-B3, "CA"], p1p2: 0400, aid: 1E500000, lc_max: 0, note: a}
  - action: deny
    cla: 80/F0
    ins:
      - E4   # DELETE
      - 10
    p1p2: '8000/FF00'
    aid: A0 00 00 03 08
  - {action: allow, ins: 00, aid: none}
  - {action: deny, cla: 00/FF, aid: any}
`)
	if err != nil {
		t.Fatal(err)
	}
	want := []firewall.Rule{
		{Allow: true, Class: &firewall.Class{Mask: 0xFF}, INS: []firewall.Instruction{{From: 0x20, To: 0x20}, {From: 0x0E, To: 0x0E}, {From: 0xB0, To: 0xB3}, {From: 0xCA, To: 0xCA}},
			P1P2: firewall.Parameters{Value: 0x0400, Mask: 0xFFFF}, AID: []byte{0x1E, 0x50, 0, 0}, Note: "a"},
		{Class: &firewall.Class{Value: 0x80, Mask: 0xF0, Masked: true}, INS: []firewall.Instruction{{From: 0xE4, To: 0xE4}, {From: 0x10, To: 0x10}},
			P1P2: firewall.Parameters{Value: 0x8000, Mask: 0xFF00}, AID: []byte{0xA0, 0, 0, 3, 8}, MaxLc: -1},
		{Allow: true, INS: []firewall.Instruction{{}}, None: true, MaxLc: -1},
		{Class: &firewall.Class{Mask: 0xFF, Masked: true}, MaxLc: -1},
	}
	if f.Default != "deny" || !reflect.DeepEqual(f.Rules, want) {
		t.Errorf("firewall = %+v, want deny and %+v", f, want)
	}
}

// TestFirewallErrors: what is wrong is Invalid and has its place.
func TestFirewallErrors(t *testing.T) {
	rule := func(text string) string { return "rules:\n  - {action: allow}\n  - {" + text + "}\n" }
	test := func(text string) string { return "tests:\n  - {" + text + "}\n" }
	for _, c := range []struct{ name, text, want string }{
		{"an unknown key", "defaults: deny", `unknown field "defaults"`},
		{"a default that is none", "default: ask", `tenants.issuer.firewall.default: "ask", want allow or deny`},
		{"an unknown key of a rule", rule("action: deny, inst: CA"), `unknown field "inst"`},
		{"no action", rule("ins: CA"), `tenants.issuer.firewall.rules[1].action: "", want allow or deny`},
		{"an AID without a value", rule("action: allow, aid: "), `aid has no value`},
		{"an AID that is null", rule("action: allow, aid: ~"), `aid has no value`},
		{"a class of three digits", rule("action: deny, cla: 080"), `rules[1].cla: "080", want 2 hexadecimal digits`},
		{"a class that is no number", rule("action: deny, cla: 0x"), `rules[1].cla`},
		{"a mask that leaves out bits of the value", rule("action: deny, cla: 84/F0"), `rules[1].cla: "84/F0" has bits that its mask leaves out`},
		{"an instruction of one digit", rule("action: deny, ins: 5"), `rules[1].ins: "5", want two hexadecimal digits`},
		{"a sign", rule("action: deny, ins: -1"), `rules[1].ins`},
		{"a plus", rule("action: deny, ins: +1"), `rules[1].ins`},
		{"an underscore", rule("action: deny, p1p2: 1_00"), `rules[1].p1p2`},
		{"a range that goes down", rule("action: deny, ins: B3-B0"), `rules[1].ins: "B3-B0"`},
		{"a range of one", rule("action: deny, ins: B0-B0"), `rules[1].ins: "B0-B0"`},
		{"no instructions", rule("action: deny, ins: []"), `rules[1].ins: an empty list`},
		{"an instruction that is null", rule("action: deny, ins: [~]"), `rules[1].ins`},
		{"a list in a list", rule("action: deny, ins: [[CA]]"), `want hexadecimal digits`},
		{"half of P1P2", rule("action: deny, p1p2: 04"), `rules[1].p1p2: "04", want 4 hexadecimal digits`},
		{"half a byte of an AID", rule("action: deny, aid: A00"), `rules[1].aid: "A00", want 1 to 16 bytes`},
		{"an AID of 17 bytes", rule("action: deny, aid: " + strings.Repeat("A0", 17)), `rules[1].aid`},
		{"lc_max in a rule that denies", rule("action: deny, lc_max: 5"), `rules[1].lc_max`},
		{"lc_max below nothing", rule("action: allow, lc_max: -1"), `rules[1].lc_max`},
		{"too many rules", "rules:\n" + strings.Repeat("  - {action: deny}\n", firewall.MaxRules+1), "65 rules, want 64 or fewer"},
		{"too many tests", "tests:\n" + strings.Repeat("  - {command: '00CA0000', want: deny}\n", 257), "257 tests, want 256 or fewer"},
		{"a test without a command", test("want: deny"), `tests[0].command: it is missing`},
		{"a test of nothing", test("name: x"), `tests[0].want command and want`},
		{"a test that wants nothing", test("command: '00CA0000'"), `tests[0].want: "", want allow or deny`},
		{"a test with a command and a script", test("command: '00CA0000', want: deny, script: [{command: '00CA0000', want: deny}]"), `tests[0].want command and want, or a script`},
		{"a test with an empty script", test("script: []"), `tests[0].want command and want, or a script`},
		{"a script of nonsense", test("script: [{command: '00CA0000', want: deny}, {command: '0', want: deny}]"), `tests[0].script[1].command: "0"`},
		{"a status word of one byte", test("command: '00CA0000', want: deny, sw: 90"), `tests[0].sw: "90", want 4 hexadecimal digits`},
		{"an AID of none", test("select: none, command: '00CA0000', want: deny"), `tests[0].select: "none"`},
		{"a test that fails", test("name: reads, command: '00CA0000', want: allow"), `tests[0] (reads): command 0: GET DATA (00 CA 00 00) is not allowed by tenants.issuer.firewall.default`},
		{"a test that another rule decides", "rules: [{action: deny}]\n" + test("command: '00CA0000', want: deny, rule: default"), `rules[0]; which application`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := firewallOf(t, c.text)
			if cardbroker.ReasonOf(err) != cardbroker.Invalid || !strings.Contains(err.Error(), c.want) {
				t.Errorf("LoadPolicy = %v, want invalid and %q", err, c.want)
			}
		})
	}
}

// TestFirewallFiles: a later file replaces the default, the rules or the tests, each as a whole, and the tests are held against what is left.
func TestFirewallFiles(t *testing.T) {
	const first = "tenants:\n  issuer:\n    firewall:\n      default: allow\n      rules: [{action: deny, ins: CA}]\n      tests: [{command: '00CA0000', want: deny, rule: 'rules[0]'}, {command: '00B00000', want: allow, rule: default}]\n  other: {firewall: {}}\n"
	load := func(second string) (config.Policy, error) {
		return config.LoadPolicy(policyDir(t, map[string]string{"1.yaml": first, "2.yaml": second}))
	}
	p, err := load("tenants: {issuer: {pin: passthrough}}\n")
	if err != nil {
		t.Fatal(err)
	}
	if f := p.Tenant("issuer").Firewall; f.Default != "allow" || len(f.Rules) != 1 || len(f.Tests) != 2 {
		t.Errorf("the second file took away what the first says: %+v", f)
	}
	if p.Tenant("nobody").Firewall.Compiled() != nil {
		t.Error("a tenant without a firewall has rules")
	}
	if done := p.FirewallTests(); len(done) != 2 || done[0].Err != nil || done[1].Test != "tenants.issuer.firewall.tests[1]" {
		t.Errorf("FirewallTests = %+v", done)
	}
	other := firewall.New(p.Tenant("other").Firewall.Compiled(), cardbroker.PINDeny)
	if err := other.Check([]byte{0, 0xCA, 0, 0}); cardbroker.RuleOf(err) != cardbroker.RuleFirewall {
		t.Errorf("an empty firewall says %v, want a refusal", err)
	}
	if _, err := load("tenants: {issuer: {firewall: {rules: []}}}\n"); err == nil || !strings.Contains(err.Error(), "tests[0]") {
		t.Errorf("LoadPolicy with rules taken away = %v, want the failed test of the first file", err)
	}
}

// TestFirewallDigits: capitals and small letters are the same, in rules as in tests.
func TestFirewallDigits(t *testing.T) {
	if _, err := firewallOf(t, `
default: allow
rules: [{action: deny, cla: 8f/ff, ins: [ca, Db], aid: a0b1, p1p2: 9f7F}]
tests: [{select: A0B1c2, command: 8fCA9f7F, want: deny, rule: 'rules[0]'}, {command: 8FdB9F7f, want: deny, rule: 'rules[0]'}]
`); err != nil {
		t.Error(err)
	}
}

// TestShowPolicy: a list counts as a whole, and so does page_jwt; maps are merged.
func TestShowPolicy(t *testing.T) {
	dir := policyDir(t, map[string]string{
		"1.yaml": "tenants:\n  a:\n    control: [0x42000001, 7]\n    firewall:\n      default: allow\n      rules: [{action: deny, ins: 00}, {action: deny, ins: [01, 02-0E]}]\n",
		"2.yaml": "tenants:\n  a:\n    firewall:\n      rules: [{action: deny, p1p2: 0400}]\n    control: []\nhttp: {local_programs: deny}\n",
	})
	shown, err := config.ShowPolicy(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for _, s := range shown {
		got[s.Key] = s.Value + " " + filepath.Base(s.Source)
	}
	for key, want := range map[string]string{
		"tenants.a.control": "[] 2.yaml", "tenants.a.firewall.default": "allow 1.yaml", "tenants.a.firewall.rules[0]": "{action: deny, p1p2: 0400} 2.yaml",
		"tenants.a.firewall.rules[1]": "", "tenants.a.firewall.tests": "[] default", "tenants.a.pin": "deny default", "http.local_programs": "deny 2.yaml",
	} {
		if got[key] != want {
			t.Errorf("%s = %q, want %q", key, got[key], want)
		}
	}
}

// FuzzFirewallPolicy: nothing in a file makes reading it panic, and what is read is judged by.
func FuzzFirewallPolicy(f *testing.F) {
	f.Add("default: allow\nrules: [{action: deny, cla: 80/F0, ins: [CA, B0-B3], p1p2: 0400, aid: A000000308}]\ntests: [{select: A0, command: 00CA0000, want: deny}]")
	f.Add("rules:\n- action: allow\n  ins:\n  - CA # x\n  aid: none\n  lc_max: 5\n")
	f.Add("rules: [{action: allow, ins: &a CA}, {action: deny, ins: *a}]")
	dir := policyDir(f, nil)
	f.Fuzz(func(t *testing.T, text string) {
		text = "tenants:\n  issuer:\n    firewall:\n      " + strings.ReplaceAll(text, "\n", "\n      ") + "\n"
		if err := os.WriteFile(filepath.Join(dir, "1.yaml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		p, err := config.LoadPolicy(dir)
		if err != nil && cardbroker.ReasonOf(err) != cardbroker.Invalid {
			t.Errorf("LoadPolicy = %v, want invalid", err)
		}
		if err != nil {
			return
		}
		if f := p.Tenant("issuer").Firewall; f != nil && f.Compiled() == nil {
			t.Error("a firewall that was read does not judge")
		}
		if _, err := config.ShowPolicy(dir); err != nil {
			t.Errorf("ShowPolicy = %v of a policy that can be read", err)
		}
	})
}

// TestFirewallDocument: the examples of the document are policies, and their tests pass.
func TestFirewallDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/firewall.md")
	if err != nil {
		t.Fatal(err)
	}
	ask, tests := program(t), 0
	for i, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(text, -1) {
		example := strings.ReplaceAll(string(block[1]), "/usr/local/libexec/cardbroker-ask", ask)
		p, err := config.LoadPolicy(policyDir(t, map[string]string{"1.yaml": example}))
		if err != nil {
			t.Errorf("example %d: %v", i+1, err)
		}
		tests += len(p.FirewallTests())
	}
	if tests < 20 {
		t.Errorf("the examples have %d tests, want 20 or more", tests)
	}
}
