// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cardbroker/cardbroker"
)

// How long a user's consent lasts, in days.
const (
	DefaultConsentDays = 30
	maxConsentDays     = 365
)

// Consent is which web pages may use the cards of users, and whether and how users are asked. The zero value leaves all to
// the user.
type Consent struct {
	Allow  []cardbroker.OriginPattern // whatever the user wants
	Deny   []cardbroker.OriginPattern // the same; it beats Allow
	Days   int                        // that a user's consent lasts at most; 0: DefaultConsentDays
	Policy bool                       // users do not decide: what is not allowed is denied
	Prompt []string                   // program, an absolute path that only root can change, and its arguments; empty: the desktop's dialogs

	Ended func(cardbroker.Origin) bool // of pages that are not there any more, and are denied; nil: there are none. It is the agent's to know
}

// Life is how long a consent lasts that was asked for so many days; 0: as long as policy lets it.
func (c Consent) Life(days int) time.Duration {
	most := c.Days
	if most == 0 {
		most = DefaultConsentDays
	}
	if days == 0 || days > most {
		days = most
	}
	return time.Duration(days) * 24 * time.Hour
}

// Denies says whether users cannot consent to the origin.
func (c Consent) Denies(o cardbroker.Origin) bool {
	return matches(c.Deny, o) || c.Policy && !matches(c.Allow, o) || c.Ended != nil && c.Ended(o)
}

// Allows says whether the origin is consented to by policy.
func (c Consent) Allows(o cardbroker.Origin) bool { return matches(c.Allow, o) && !c.Denies(o) }

func matches(patterns []cardbroker.OriginPattern, o cardbroker.Origin) bool {
	for _, p := range patterns {
		if p.Matches(o) {
			return true
		}
	}
	return false
}

// consentText is what a file says of consent.
type consentText struct {
	Allow  []string `yaml:"allow"`
	Deny   []string `yaml:"deny"`
	Days   *int     `yaml:"days"`
	Users  *string  `yaml:"users"`
	Prompt []string `yaml:"prompt"`
}

// load puts what a file says over what was read before.
func (c *Consent) load(path string, said consentText) error {
	for _, list := range []struct {
		key  string
		said []string
		into *[]cardbroker.OriginPattern
	}{{"allow", said.Allow, &c.Allow}, {"deny", said.Deny, &c.Deny}} {
		if list.said == nil {
			continue
		}
		patterns := make([]cardbroker.OriginPattern, len(list.said))
		for i, text := range list.said {
			var err error
			if patterns[i], err = cardbroker.ParseOriginPattern(text); err != nil {
				return wrong(path, "consent.%s: %q is neither an origin, as browsers write it, nor scheme://*.domain[:port]", list.key, text)
			}
		}
		*list.into = patterns
	}
	if said.Days != nil {
		if *said.Days < 1 || *said.Days > maxConsentDays {
			return wrong(path, "consent.days: %d, want 1 to %d", *said.Days, maxConsentDays)
		}
		c.Days = *said.Days
	}
	if users := said.Users; users != nil {
		if !slices.Contains([]string{"decide", "deny"}, *users) {
			return wrong(path, "consent.users: %q, want decide or deny", *users)
		}
		c.Policy = *users == "deny"
	}
	if said.Prompt != nil {
		c.Prompt = said.Prompt
	}
	return nil
}

// check checks what all files together say.
func (c *Consent) check(dir string) error {
	if len(c.Prompt) == 0 {
		return nil
	}
	return checkProgram(dir, "consent.prompt", c.Prompt[0])
}

// checkProgram checks that a program is one, and that nobody but root can change it.
func checkProgram(dir, key, program string) error {
	if !filepath.IsAbs(program) || filepath.Clean(program) != program {
		return wrong(dir, "%s: %q is not an absolute path", key, program)
	}
	if err := rootsOwn(program); err != nil {
		return err
	}
	if info, err := os.Stat(program); err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
		return wrong(dir, "%s: %s is not a program", key, program)
	}
	return nil
}
