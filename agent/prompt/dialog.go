// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package prompt

import (
	"fmt"
	"os"
	"strings"
	"unicode"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/consent"
	"github.com/cardbroker/cardbroker/virtualreader/cardend"
)

// program is a dialog program of the system. What it shows stands in its command line, which everybody on the host can read; what
// the user enters comes back through a pipe.
type program struct {
	path string
	ask  func(q consent.Question) []string                       // arguments of the question for consent
	yes  string                                                  // that it says
	pins func(text string, labels []string) (dialogs [][]string) // arguments of the dialogs for PINs, one or more labels each
}

// dialogs are the programs that desktops have. "No" is what the Enter key means in both where consent is asked for.
func dialogs() []program {
	return []program{
		{path: "/usr/bin/zenity", ask: func(q consent.Question) []string {
			return []string{"--question", "--no-markup", "--default-cancel", "--title=" + title, "--ok-label=Allow", "--cancel-label=Deny",
				"--width=520", "--text=" + words(q)}
		}, pins: func(text string, labels []string) [][]string {
			if len(labels) == 1 { // where the Enter key means OK, and _ the next key; in a form neither
				return [][]string{{"--entry", "--hide-text", "--title=" + title, "--text=" + strings.ReplaceAll(text, "_", "__") + "\n\n" + labels[0]}}
			}
			form := []string{"--forms", "--title=" + title, "--separator=\n", "--text=" + text}
			for _, label := range labels {
				form = append(form, "--add-password="+label)
			}
			return [][]string{form}
		}},
		{path: "/usr/bin/kdialog", ask: func(q consent.Question) []string {
			return []string{"--title", title, "--menu", words(q), refusal, "Deny", allowed, "Allow"}
		}, yes: allowed, pins: func(text string, labels []string) (dialogs [][]string) {
			for _, label := range labels {
				dialogs = append(dialogs, []string{"--title", title, "--password", text + "\n\n" + label})
			}
			return dialogs
		}},
	}
}

const title = "Smart card"

// first returns the first of the programs that is there and root's alone, on a display that the agent's own environment names.
func first(programs []program) (program, bool) {
	if os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "" {
		return program{}, false
	}
	for _, p := range programs {
		if usable(p.path) {
			return p, true
		}
	}
	return program{}, false
}

// Desktop returns the program of the desktop that asks where policy names none.
func Desktop() (path string, ok bool) {
	p, ok := first(dialogs())
	return p.path, ok
}

// maxShown is how many characters of an origin, or of a name, a dialog shows in one line.
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

// printed returns a name that others choose without what does not print: another line, an escape, a turn of the direction of writing.
func printed(name string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, name)
}

// plain returns a name that others choose, a reader's for example, without what a dialog could take for markup, an escape, a key to
// press or another line.
func plain(name string) string {
	kept := strings.Map(func(r rune) rune {
		if strings.ContainsRune("<>&\"'\\", r) {
			return -1
		}
		return r
	}, printed(name))
	if long := []rune(kept); len(long) > maxShown {
		kept = string(long[:maxShown-1]) + "…"
	}
	return kept
}

// pinWords are what a dialog for PINs says: who asks, what for, and what went wrong before.
func pinWords(q cardend.Question) string {
	var text strings.Builder
	switch {
	case q.Origin != "":
		fmt.Fprintf(&text, "The web page\n\n%s\n\n", shown(q.Origin))
	case q.Tenant != "":
		fmt.Fprintf(&text, "The service\n\n%s\n\n", plain(string(q.Tenant)))
	default:
		text.WriteString("A program of yours ")
	}
	what := map[cardend.Action]string{
		cardend.ActionVerify: "asks for the PIN of the card in", cardend.ActionModify: "asks to change the PIN of the card in",
		cardend.ActionUnblock: "asks for the code that unblocks the PIN of the card in",
	}[q.Action]
	fmt.Fprintf(&text, "%s\n\n%s", what, plain(q.Reader))
	if q.Which != "" {
		fmt.Fprintf(&text, "\n%s", plain(q.Which))
	}
	text.WriteString("\n\n" + problemWords(q) + "Enter it only if you have just started that yourself.")
	return text.String()
}

// problemWords say why the same is asked again.
func problemWords(q cardend.Question) string {
	size := fmt.Sprintf("%d to %d characters", q.Min, q.Max)
	if q.Digits {
		size = fmt.Sprintf("%d to %d digits", q.Min, q.Max)
	}
	switch q.Problem {
	case cardend.ProblemWrong:
		return "That was wrong. Tries left: " + triesLeft(q.Tries) + ".\n"
	case cardend.ProblemFew:
		return "Tries left: " + triesLeft(q.Tries) + ". After that the card is blocked.\n"
	case cardend.ProblemLength:
		return "It has " + size + ".\n"
	case cardend.ProblemDifferent:
		return "The new PIN and its repetition were different.\n"
	}
	return ""
}

func triesLeft(n int) string {
	if n < 0 {
		return "unknown"
	}
	return fmt.Sprint(n)
}

// labels name what is entered.
func labels(parts []cardend.Part) (names []string) {
	for _, part := range parts {
		names = append(names, map[cardend.Part]string{
			cardend.PartPIN: "PIN", cardend.PartPUK: "PUK", cardend.PartNew: "New PIN", cardend.PartRepeat: "New PIN again",
		}[part])
	}
	return names
}
