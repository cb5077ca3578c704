// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package script_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestTokensDocument: each command of docs/tokens.md, with each of its flags, is in the script that runs them.
func TestTokensDocument(t *testing.T) {
	document, err := os.ReadFile("../../docs/tokens.md")
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("testdata/token.txtar")
	if err != nil {
		t.Fatal(err)
	}
	commands := regexp.MustCompile(`(?m)^    (cardbroker .*)$`).FindAllStringSubmatch(string(document), -1)
	if len(commands) < 8 {
		t.Errorf("the document has %d commands", len(commands))
	}
	for _, command := range commands {
		line := command[1]
		words := regexp.MustCompile(`^[a-z ]+`).FindString(strings.ReplaceAll(line, "shop/0a1b2c3d", "$KEYID"))
		if strings.Contains(line, "0a1b2c3d") {
			words += "$KEYID"
		}
		if !strings.Contains(string(script), strings.TrimSpace(words)) {
			t.Errorf("%q is not tried", line)
		}
		for _, flag := range regexp.MustCompile(`--[a-z-]+`).FindAllString(line, -1) {
			if !strings.Contains(string(script), flag+" ") {
				t.Errorf("%s of %q is not tried", flag, line)
			}
		}
	}
}

// TestScriptsDocument: the script that docs/scripts.md says can be tried is the one that is.
func TestScriptsDocument(t *testing.T) {
	document, err := os.ReadFile("../../docs/scripts.md")
	if err != nil {
		t.Fatal(err)
	}
	tried, err := os.ReadFile("testdata/run.txtar")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(document), "has a card that runs this:\n\n```yaml\n")
	example, _, ok := strings.Cut(after, "```")
	if !ok || !strings.Contains(string(tried), "-- whole.yaml --\n"+example+"-- ") {
		t.Errorf("run.txtar does not run\n%s", example)
	}
}
