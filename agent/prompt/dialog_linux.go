// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package prompt

import (
	"fmt"
	"os"
	"strings"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/consent"
	"github.com/cardbroker/cardbroker/internal/peer"
)

// program is a dialog program of the system.
type program struct {
	path string
	args func(q consent.Question) []string
	yes  string // that it says
}

// dialogs are the programs that desktops have. "No" is what the Enter key means in both.
func dialogs() []program {
	return []program{
		{path: "/usr/bin/zenity", args: func(q consent.Question) []string {
			return []string{"--question", "--no-markup", "--default-cancel", "--title=Smart card", "--ok-label=Allow", "--cancel-label=Deny",
				"--width=520", "--text=" + words(q)}
		}},
		{path: "/usr/bin/kdialog", args: func(q consent.Question) []string {
			return []string{"--title", "Smart card", "--menu", words(q), refusal, "Deny", allowed, "Allow"}
		}, yes: allowed},
	}
}

// dialog returns the first of the programs that is there and root's alone, on a display that the agent's own environment names.
func dialog(programs []program) (way, bool) {
	if os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "" {
		return way{}, false
	}
	for _, p := range programs {
		info, err := os.Stat(p.path)
		if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 || peer.CheckFile(p.path) != nil {
			continue
		}
		return way{command: func(q consent.Question) []string { return append([]string{p.path}, p.args(q)...) }, yes: p.yes}, true
	}
	return way{}, false
}

// maxShown is how many characters of an origin a dialog shows in one line.
const maxShown = 72

// shown returns an origin for a dialog. It has no character that means something to markup, and no other script than ASCII
// (cardbroker.ParseOrigin). Of a long one the end is shown: there is whose it is, whereas its beginning is anybody's choice.
func shown(o cardbroker.Origin) string {
	scheme, host, _ := strings.Cut(string(o), "://")
	if len(o) <= maxShown {
		return string(o)
	}
	return fmt.Sprintf("%s://…%s", scheme, host[len(host)-(maxShown-len(scheme)-len("://")):])
}

// words are what a dialog asks.
func words(q consent.Question) string {
	return fmt.Sprintf("The web page\n\n%s\n\nasks to use your smart card for %d days. Allow it only if you have just opened that page.", shown(q.Origin), q.Days)
}
