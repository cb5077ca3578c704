// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/peer"
)

// PolicyDir is where machine policy is unless the command line names another directory.
const PolicyDir = "/etc/cardbroker/policy.d"

// DefaultPromptTimeout is how long a user is asked for his PIN, and the longest time that policy may set.
const DefaultPromptTimeout = time.Minute

// Policy is what the administrator of a host has decided for its agents; no user can change it. The zero value allows
// nothing that needs to be allowed.
type Policy struct {
	SharedPCSC bool // a PC/SC service that several users can reach may be used
	PagesOnly  bool // agents serve web pages, but no programs that do not say they are one
	NoDemo     bool // agents serve no demo page
	NoNotices  bool // agents do not tell their users on the desktop who holds their readers
	Prompt     Prompt
	Consent    Consent
	PIN        PINPolicy
	Exclude    []cardbroker.ReaderPattern // readers that are nobody's: as if they were not there
	PagePINs   bool                       // web pages may send commands that carry a PIN, or may hide one
	Cache      Cache
	Election   Election

	modules []Module              // by name
	said    map[string]moduleText // of modules, by all files
	tenants map[cardbroker.Tenant]TenantPolicy
}

// Prompt is how the agent asks its user for a PIN.
type Prompt struct {
	Command []string      // program, an absolute path that only root can change, and its arguments; empty: there is none
	Timeout time.Duration // 1 s to DefaultPromptTimeout
}

// LoadPolicy reads the files *.yaml of a directory, in the order of their names: what a later file says of a key counts.
// An empty dir means PolicyDir, which need not be there. Everything on the way to a file belongs to root and is writable
// by nobody else. Errors: Invalid, all that are found, with their places.
func LoadPolicy(dir string) (Policy, error) {
	p := Policy{Prompt: Prompt{Timeout: DefaultPromptTimeout}, Cache: defaultCache(), Election: defaultElection(), tenants: make(map[cardbroker.Tenant]TenantPolicy), said: make(map[string]moduleText)}
	if dir == "" {
		if _, err := os.Lstat(PolicyDir); errors.Is(err, fs.ErrNotExist) {
			return p, nil
		}
	}
	dir, err := filepath.Abs(cmp.Or(dir, PolicyDir))
	if err != nil {
		return p, cardbroker.Wrapf(err, cardbroker.Invalid, "cannot tell where the policy %s is", dir)
	}
	files, err := policyFiles(dir)
	if err != nil {
		return p, err
	}
	var problems []error
	for _, file := range files {
		problems = append(problems, p.load(file))
	}
	if err := errors.Join(problems...); err != nil {
		return p, err
	}
	return p, p.check(dir)
}

// policyFiles returns the paths of a directory's files, in the order in which they count.
func policyFiles(dir string) (files []string, err error) {
	if err := rootsOwn(dir); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir) // by name
	if err != nil {
		return nil, cardbroker.Wrapf(err, cardbroker.Invalid, "cannot read the policy %s", dir)
	}
	for _, entry := range entries {
		if filepath.Ext(entry.Name()) == ".yaml" {
			files = append(files, filepath.Join(dir, entry.Name()))
		}
	}
	return files, nil
}

// rootsOwn checks that nobody but root can change a part of the policy.
func rootsOwn(path string) error {
	err := peer.CheckFile(path)
	switch cardbroker.ReasonOf(err) {
	case "":
		return nil
	case cardbroker.CallerRefused:
		return cardbroker.Wrapf(err, cardbroker.Invalid,
			"machine policy must be root's alone; chown root and chmod go-w %s and what it lies in", path)
	}
	return cardbroker.Wrapf(err, cardbroker.Invalid, "cannot read the machine policy %s", path)
}

// policyText is one file. A pointer that is nil, and a list that is, were not there.
type policyText struct {
	PCSC struct {
		Shared *string `yaml:"shared"`
	} `yaml:"pcsc"`
	Prompt struct {
		Command []string `yaml:"command"`
		Timeout *string  `yaml:"timeout"`
	} `yaml:"prompt"`
	HTTP    httpText              `yaml:"http"`
	Consent consentText           `yaml:"consent"`
	PIN     pinText               `yaml:"pin"`
	Cache   cacheText             `yaml:"cache"`
	Elect   electionText          `yaml:"election"`
	Notify  *bool                 `yaml:"notify"`
	Modules map[string]moduleText `yaml:"modules"`
	Readers readersText           `yaml:"readers"`
	Remote  remoteText            `yaml:"remote_loading"`
	Tenants map[string]tenantText `yaml:"tenants"`
}

// load puts one file over what was read before.
func (p *Policy) load(path string) error {
	if err := rootsOwn(path); err != nil {
		return err
	}
	var text policyText
	if err := read(path, true, &text); err != nil {
		return err
	}
	if text.Notify != nil {
		p.NoNotices = !*text.Notify
	}
	problems := []error{
		p.loadPCSC(path, text), p.loadPrompt(path, text), p.loadHTTP(path, text.HTTP), p.Consent.load(path, text.Consent), p.loadPIN(path, text.PIN),
		p.loadReaders(path, text.Readers), p.loadRemote(path, text.Remote),
		p.Cache.load(path, text.Cache), p.Election.load(path, text.Elect),
	}
	for _, name := range slices.Sorted(maps.Keys(text.Tenants)) {
		problems = append(problems, p.loadTenant(path, name, text.Tenants[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(text.Modules)) {
		problems = append(problems, p.loadModule(path, name, text.Modules[name]))
	}
	return errors.Join(problems...)
}

func (p *Policy) loadPCSC(path string, said policyText) error {
	if shared := said.PCSC.Shared; shared != nil {
		if *shared != "allow" && *shared != "deny" {
			return wrong(path, "pcsc.shared: %q, want allow or deny", *shared)
		}
		p.SharedPCSC = *shared == "allow"
	}
	return nil
}

func (p *Policy) loadPrompt(path string, said policyText) error {
	if said.Prompt.Command != nil {
		p.Prompt.Command = said.Prompt.Command
	}
	if timeout := said.Prompt.Timeout; timeout != nil {
		d, err := time.ParseDuration(*timeout)
		if err != nil || d < time.Second || d > DefaultPromptTimeout {
			return wrong(path, "prompt.timeout: %q, want 1s to %v", *timeout, DefaultPromptTimeout)
		}
		p.Prompt.Timeout = d
	}
	return nil
}

// check checks what all files together say.
func (p *Policy) check(dir string) error {
	return errors.Join(p.checkPageJWTs(dir), p.checkFirewalls(dir), p.checkPIN(dir), p.Consent.check(dir), p.checkPrompt(dir), p.checkModules(dir))
}

func (p *Policy) checkPrompt(dir string) error {
	if len(p.Prompt.Command) == 0 {
		return nil
	}
	return checkProgram(dir, "prompt.command", p.Prompt.Command[0])
}

func wrong(path, format string, args ...any) error {
	return cardbroker.Errorf(cardbroker.Invalid, "policy %s: %s", path, fmt.Sprintf(format, args...))
}
