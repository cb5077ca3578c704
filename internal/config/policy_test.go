// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/testenv"
)

// policyDir makes a directory of root's with files, by name.
func policyDir(t testing.TB, files map[string]string) string {
	t.Helper()
	testenv.Root(t)
	dir := filepath.Join(t.TempDir(), "policy.d")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// program makes a program of root's beside a policy.
func program(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ask")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPolicy(t *testing.T) {
	ask := program(t)
	dir := policyDir(t, map[string]string{
		"10-first.yaml": "pcsc: {shared: allow}\nprompt: {command: [/nowhere, x], timeout: 5s}\n" +
			"tenants:\n  issuer: {pin: passthrough, control: [0x42000001, 7]}\n  other: {pin: agent}\n",
		"20-second.yaml": "prompt: {command: [" + ask + ", --loud]}\ntenants:\n  issuer: {pin: agent}\n  other: {control: [1]}\n",
		"30-empty.yaml":  "",
		"40-no.txt":      "not: [yaml",
	})
	p, err := config.LoadPolicy(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := config.Prompt{Command: []string{ask, "--loud"}, Timeout: 5 * time.Second}
	if !p.SharedPCSC || !reflect.DeepEqual(p.Prompt, want) {
		t.Errorf("LoadPolicy = %+v, want %+v", p, want)
	}
	for tenant, want := range map[cardbroker.Tenant]config.TenantPolicy{
		"issuer":  {PIN: cardbroker.PINAgent, Control: []uint32{0x42000001, 7}},
		"other":   {PIN: cardbroker.PINAgent, Control: []uint32{1}},
		"nobody":  {},
		"ISSUER":  {},
		"issuer ": {},
	} {
		if got := p.Tenant(tenant); !reflect.DeepEqual(got, want) {
			t.Errorf("Tenant(%q) = %+v, want %+v", tenant, got, want)
		}
	}
	if got := (config.Policy{}).Tenant("issuer"); got.PIN != cardbroker.PINDeny || got.Control != nil {
		t.Errorf("without a policy Tenant = %+v, want nothing", got)
	}
}

// TestNoPolicy: the default directory need not be there; one that was named must.
func TestNoPolicy(t *testing.T) {
	testenv.Root(t)
	if _, err := config.LoadPolicy(filepath.Join(t.TempDir(), "none")); cardbroker.ReasonOf(err) != cardbroker.Invalid {
		t.Errorf("LoadPolicy of a missing directory = %v, want invalid", err)
	}
	if _, err := os.Stat(config.PolicyDir); err == nil {
		testenv.Skip(t, "needs a host without "+config.PolicyDir)
	}
	p, err := config.LoadPolicy("")
	if err != nil || p.SharedPCSC || len(p.Prompt.Command) != 0 || p.Prompt.Timeout != config.DefaultPromptTimeout {
		t.Errorf("LoadPolicy = %+v, %v, want the defaults", p, err)
	}
}

// TestPolicyErrors: what is wrong with a policy is Invalid, and the message says where.
func TestPolicyErrors(t *testing.T) {
	ask := program(t)
	for _, test := range []struct{ name, text, want string }{
		{"an unknown key", "pcsc:\n  share: allow\n", `[2:3] unknown field "share"`},
		{"an unknown key of a tenant", "tenants:\n  issuer:\n    pins: deny\n", `unknown field "pins"`},
		{"an unknown key above", "tenant: {}\n", `unknown field "tenant"`},
		{"a tag", "pcsc: !!map {shared: allow}\n", "[1:7] a tag is not allowed"},
		{"a tag without a value, at which the library panics", "tenants: !\n", "a tag is not allowed"},
		{"a key twice", "tenants:\n  a: {pin: deny}\n  a: {pin: agent}\n", "[3:"},
		{"a value that is none", "pcsc: {shared: yes}\n", "pcsc.shared"},
		{"a value in capitals", "pcsc: {shared: Allow}\n", `pcsc.shared: "Allow", want allow or deny`},
		{"a PIN mode that is none", "tenants: {issuer: {pin: allow}}\n", `tenants.issuer.pin: "allow", want deny, agent or passthrough`},
		{"an empty PIN mode", "tenants: {issuer: {pin: ''}}\n", "tenants.issuer.pin"},
		{"a tenant's name that is none", "tenants: {'is suer': {pin: deny}}\n", `"is suer" is not a tenant's name`},
		{"a code that is too large", "tenants: {issuer: {control: [0x142000001]}}\n", "[1:"},
		{"a code below nothing", "tenants: {issuer: {control: [-1]}}\n", "[1:"},
		{"a pin pad's function", "tenants: {issuer: {control: [1, 0x42330006]}}\n", "tenants.issuer.control"},
		{"the question for features", "tenants: {issuer: {control: [0x42000D48]}}\n", "tenants.issuer.control"},
		{"a relative program", "prompt: {command: [ask]}\n", "not an absolute path"},
		{"a program by a detour", "prompt: {command: [/usr/../bin/true]}\n", "not an absolute path"},
		{"a program that is not there", "prompt: {command: [/usr/bin/no-such-program]}\n", "/usr/bin/no-such-program"},
		{"a directory for a program", "prompt: {command: [/usr/bin]}\n", "is not a program"},
		{"a text for a command", "prompt: {command: " + ask + "}\n", "[1:"},
		{"no time", "prompt: {command: [" + ask + "], timeout: 0s}\n", "prompt.timeout"},
		{"too much time", "prompt: {command: [" + ask + "], timeout: 61s}\n", "prompt.timeout"},
		{"a number for a time", "prompt: {command: [" + ask + "], timeout: 60}\n", "prompt.timeout"},
		{"two documents", "pcsc: {shared: deny}\n---\npcsc: {shared: allow}\n", "more than one document"},
		{"no YAML", "pcsc: [\n", "[1:"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := policyDir(t, map[string]string{"a.yaml": test.text})
			_, err := config.LoadPolicy(dir)
			message := api.Describe(err).Description
			if cardbroker.ReasonOf(err) != cardbroker.Invalid || !strings.Contains(message, test.want) {
				t.Errorf("LoadPolicy = %v, want invalid with %q", err, test.want)
			}
		})
	}
}

// TestPolicyOwners: what anybody but root can change is no policy.
func TestPolicyOwners(t *testing.T) {
	const text = "pcsc: {shared: allow}\n"
	const alice = 61001
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, attack := range map[string]func(t *testing.T, dir, file string){
		"a file of another user":          func(t *testing.T, _, file string) { must(t, os.Chown(file, alice, 0)) },
		"a file that a group may write":   func(t *testing.T, _, file string) { must(t, os.Chmod(file, 0o664)) },
		"a file that all may write":       func(t *testing.T, _, file string) { must(t, os.Chmod(file, 0o646)) },
		"a directory of another user":     func(t *testing.T, dir, _ string) { must(t, os.Chown(dir, alice, 0)) },
		"a directory all may write":       func(t *testing.T, dir, _ string) { must(t, os.Chmod(dir, 0o777)) },
		"a sticky directory all may fill": func(t *testing.T, dir, _ string) { must(t, syscall.Chmod(dir, 0o1777)) },
		"a directory in one of another user": func(t *testing.T, dir, _ string) {
			must(t, os.Chown(filepath.Dir(dir), alice, 0))
		},
		"a directory in one that all may write": func(t *testing.T, dir, _ string) {
			must(t, os.Chmod(filepath.Dir(dir), 0o777))
		},
		"a link to a file of another user": func(t *testing.T, _, file string) {
			target := filepath.Join(t.TempDir(), "mine.yaml")
			must(t, os.WriteFile(target, []byte(text), 0o644))
			must(t, os.Chown(target, alice, 0))
			must(t, os.Remove(file))
			must(t, os.Symlink(target, file))
		},
		"a link into another user's directory": func(t *testing.T, _, file string) {
			home := t.TempDir()
			must(t, os.WriteFile(home+"/roots.yaml", []byte(text), 0o644))
			must(t, os.Chown(home, alice, 0))
			must(t, os.Remove(file))
			must(t, os.Symlink(home+"/roots.yaml", file))
		},
		"a link of another user": func(t *testing.T, dir, file string) {
			must(t, os.Rename(file, filepath.Dir(dir)+"/roots.yaml"))
			must(t, os.Symlink("../roots.yaml", file))
			must(t, os.Lchown(file, alice, 0))
		},
		"a link to nothing": func(t *testing.T, dir, _ string) { must(t, os.Symlink("nothing", dir+"/b.yaml")) },
		"a directory in place of a file": func(t *testing.T, dir, _ string) {
			must(t, os.Mkdir(dir+"/b.yaml", 0o755))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := policyDir(t, map[string]string{"a.yaml": text})
			if p, err := config.LoadPolicy(dir); err != nil || !p.SharedPCSC {
				t.Fatalf("LoadPolicy before = %+v, %v", p, err)
			}
			attack(t, dir, filepath.Join(dir, "a.yaml"))
			if p, err := config.LoadPolicy(dir); cardbroker.ReasonOf(err) != cardbroker.Invalid {
				t.Errorf("LoadPolicy = %+v, %v, want invalid", p, err)
			}
		})
	}
}

// TestPolicyProgram: who can change the program that asks for PINs gets them.
func TestPolicyProgram(t *testing.T) {
	for name, attack := range map[string]func(path string) error{
		"of another user":        func(path string) error { return os.Chown(path, 61001, 0) },
		"that all may write":     func(path string) error { return os.Chmod(path, 0o777) },
		"in another's directory": func(path string) error { return os.Chown(filepath.Dir(path), 61001, 0) },
		"that nobody can run":    func(path string) error { return os.Chmod(path, 0o644) },
		"that is gone":           os.Remove,
		"in a directory of all":  func(path string) error { return os.Chmod(filepath.Dir(path), 0o777) },
		"with a link of another's": func(path string) error {
			if err := os.Rename(path, path+".real"); err != nil {
				return err
			}
			if err := os.Symlink(path+".real", path); err != nil {
				return err
			}
			return os.Lchown(path, 61001, 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			ask := program(t)
			dir := policyDir(t, map[string]string{"a.yaml": "prompt: {command: [" + ask + "]}\n"})
			if _, err := config.LoadPolicy(dir); err != nil {
				t.Fatal(err)
			}
			if err := attack(ask); err != nil {
				t.Fatal(err)
			}
			if p, err := config.LoadPolicy(dir); cardbroker.ReasonOf(err) != cardbroker.Invalid {
				t.Errorf("LoadPolicy = %+v, %v, want invalid", p, err)
			}
		})
	}
}

// FuzzPolicy: no file makes it panic, and what is wrong is always Invalid.
func FuzzPolicy(f *testing.F) {
	for _, seed := range []string{"", "pcsc: {shared: allow}", "tenants: {a: {pin: deny, control: [1]}}", "prompt: {timeout: 1s}", "tenants: {a: ~}", "tenants: &a [*a]"} {
		f.Add(seed)
	}
	dir := policyDir(f, nil)
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(dir+"/a.yaml", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := config.LoadPolicy(dir); err != nil && cardbroker.ReasonOf(err) != cardbroker.Invalid {
			t.Errorf("LoadPolicy of %q = %v, want invalid", text, err)
		}
	})
}
