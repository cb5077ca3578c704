// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Module is a PKCS#11 module that the session's pages and programs may use, by its name: none of them ever names a file.
type Module struct {
	Name       string   // as it stands in URLs: a lower-case letter, then such letters, digits, - and _, 32 at most
	Title      string   // for people
	Library    string   // absolute path of a file that is root's alone; it may be missing
	PCSC       bool     // its tokens are cards in PC/SC readers, and are used in the reader's turn
	ATRs       []string // cards that it is for: hexadecimal, x for any digit, * for any rest; empty: all
	Env        []string // NAME=value, beside those of PC/SC
	Read       []string // files and directories that it reads
	Write      []string // directories that it writes to
	Mechanisms []string // CKM_… that may be used; empty: all that we know
}

// Modules returns the modules that policy names, by name.
func (p Policy) Modules() []Module { return p.modules }

// Module returns the module of that name.
func (p Policy) Module(name string) (Module, bool) {
	for _, m := range p.modules {
		if m.Name == name {
			return m, true
		}
	}
	return Module{}, false
}

// FitsATR says whether the module is for cards with that ATR, in hexadecimal. A module that is not for cards fits none.
func (m Module) FitsATR(atr string) bool {
	return m.PCSC && (len(m.ATRs) == 0 || slices.ContainsFunc(m.ATRs, func(pattern string) bool { return matchesATR(pattern, atr) }))
}

func matchesATR(pattern, atr string) bool {
	pattern, rest := strings.CutSuffix(pattern, "*")
	if len(atr) < len(pattern) || len(atr) > len(pattern) && !rest {
		return false
	}
	for i := range len(pattern) {
		if pattern[i] != 'x' && !strings.EqualFold(pattern[i:i+1], atr[i:i+1]) {
			return false
		}
	}
	return true
}

// moduleText is what the files say of a module. A pointer that is nil, and a list that is, were not there.
type moduleText struct {
	Preset     *string  `yaml:"preset"`
	Title      *string  `yaml:"title"`
	Library    *string  `yaml:"library"`
	PCSC       *bool    `yaml:"pcsc"`
	ATRs       []string `yaml:"atrs"`
	Env        []string `yaml:"env"`
	Read       []string `yaml:"read"`
	Write      []string `yaml:"write"`
	Mechanisms []string `yaml:"mechanisms"`
}

const (
	lower  = "abcdefghijklmnopqrstuvwxyz"
	upper  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits = "0123456789"

	maxModuleName = 32
	maxATR        = 33 // bytes, ISO/IEC 7816-3 §8.2
)

func isModuleName(name string) bool {
	return name != "" && len(name) <= maxModuleName && only(name[:1], lower) && only(name, lower+digits+"-_") &&
		name != "remoteloading" // which has the same place in URLs
}

func isATRPattern(pattern string) bool {
	all, rest := strings.CutSuffix(pattern, "*")
	return only(all, digits+"ABCDEFabcdefx") && len(all) <= 2*maxATR && (rest || all != "" && len(all)%2 == 0)
}

func isMechanism(name string) bool {
	rest, ok := strings.CutPrefix(name, "CKM_")
	return ok && rest != "" && only(rest, upper+digits+"_")
}

// isEnvironment says whether a module may be told this in its environment: not what the sandbox, and the session's PC/SC service, is
// told there.
func isEnvironment(pair string) bool {
	name, value, ok := strings.Cut(pair, "=")
	return ok && name != "" && only(name, lower+upper+digits+"_") && !strings.Contains(value, "\x00") &&
		!strings.HasPrefix(name, "CARDSANDBOX_") && name != "PCSCLITE_CSOCK_NAME"
}

// isPath says whether a path is absolute and can stand in a list of paths.
func isPath(path string) bool {
	return filepath.IsAbs(path) && filepath.Clean(path) == path && (filepath.ListSeparator != ':' || !strings.Contains(path, ":"))
}

// only says whether a text has no other characters than these.
func only(text, characters string) bool { return strings.Trim(text, characters) == "" }

// loadModule puts what a file says of a module over what was read before.
func (p *Policy) loadModule(path, name string, said moduleText) error {
	if !isModuleName(name) {
		return wrong(path, "modules.%s: want a lower-case letter, then such letters, digits, - and _, 32 at most", name)
	}
	place := "modules." + name + "."
	for _, list := range []struct {
		key    string
		values []string
		is     func(string) bool
		want   string
	}{
		{"atrs", said.ATRs, isATRPattern, "hexadecimal digits, x for any, and * for any rest"},
		{"env", said.Env, isEnvironment, "NAME=value, and a name that is not cardbroker's"},
		{"read", said.Read, isPath, "an absolute path"},
		{"write", said.Write, isPath, "an absolute path"},
		{"mechanisms", said.Mechanisms, isMechanism, "CKM_ and a name"},
	} {
		for _, value := range list.values {
			if !list.is(value) {
				return wrong(path, "%s%s: %q, want %s", place, list.key, value, list.want)
			}
		}
	}
	if said.Library != nil && !isPath(*said.Library) {
		return wrong(path, "%slibrary: %q, want an absolute path", place, *said.Library)
	}
	if said.Preset != nil && presetOf(*said.Preset) == nil {
		return wrong(path, "%spreset: %q, want one of %v", place, *said.Preset, presetNames())
	}
	p.said[name] = said.over(p.said[name])
	return nil
}

// over puts what is said over what was said before.
func (m moduleText) over(before moduleText) moduleText {
	m.Preset, m.Title, m.Library, m.PCSC = cmp.Or(m.Preset, before.Preset), cmp.Or(m.Title, before.Title), cmp.Or(m.Library, before.Library), cmp.Or(m.PCSC, before.PCSC)
	m.ATRs, m.Env, m.Read = orBefore(m.ATRs, before.ATRs), orBefore(m.Env, before.Env), orBefore(m.Read, before.Read)
	m.Write, m.Mechanisms = orBefore(m.Write, before.Write), orBefore(m.Mechanisms, before.Mechanisms)
	return m
}

func orBefore(said, before []string) []string {
	if said == nil {
		return before
	}
	return said
}

// checkModules makes the modules of what all files together say. A library that is not there is no error: it may come later, or the
// policy be for more hosts than this one.
func (p *Policy) checkModules(dir string) error {
	p.modules = nil
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(p.said)) {
		m, err := p.said[name].module(dir, name)
		problems = append(problems, err)
		p.modules = append(p.modules, m)
	}
	return errors.Join(problems...)
}

// module makes a module of what is said of it, and of its preset: the one that is named, else the one of the module's name.
func (m moduleText) module(dir, name string) (Module, error) {
	known := presetOf(name)
	if m.Preset != nil {
		known = presetOf(*m.Preset)
	}
	if known == nil {
		known = &preset{title: name, pcsc: true}
	}
	made := Module{
		Name: name, Title: known.title, Library: known.find(), PCSC: known.pcsc, ATRs: m.ATRs, Env: m.Env,
		Read: orBefore(m.Read, known.read), Write: orBefore(m.Write, known.write), Mechanisms: m.Mechanisms,
	}
	if m.Title != nil {
		made.Title = *m.Title
	}
	if m.Library != nil {
		made.Library = *m.Library
	}
	if m.PCSC != nil {
		made.PCSC = *m.PCSC
	}
	if made.Library == "" {
		return made, wrong(dir, "modules.%s: want a library, or a preset, one of %v", name, presetNames())
	}
	if _, err := os.Stat(made.Library); errors.Is(err, fs.ErrNotExist) {
		return made, nil
	}
	if err := rootsOwn(made.Library); err != nil {
		return made, wrong(dir, "modules.%s.library: %s and what it lies in must be root's alone", name, made.Library)
	}
	return made, nil
}

// preset is what is known of a middleware.
type preset struct {
	names     []string
	title     string
	pcsc      bool
	libraries []string // the first that is there counts
	read      []string
	write     []string
}

// find returns the library that is there, else the first.
func (p *preset) find() string {
	for _, library := range p.libraries {
		if _, err := os.Stat(library); err == nil {
			return library
		}
	}
	return strings.Join(p.libraries[:min(1, len(p.libraries))], "")
}

func presetOf(name string) *preset {
	for _, p := range presets() {
		if slices.Contains(p.names, name) {
			return &p
		}
	}
	return nil
}

func presetNames() (names []string) {
	for _, p := range presets() {
		names = append(names, p.names...)
	}
	slices.Sort(names)
	return names
}
