// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package config_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker/internal/config"
)

// examples returns the YAML examples of a document.
func examples(t *testing.T, name string) (found []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", name))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		found = append(found, m[1])
	}
	return found
}

// The two examples of docs/admin.md that have all keys are taken as they stand, but for programs and keys that are not on this host.
// The one of policy had an empty prompt, which was refused.
func TestExamplesOfAdministrators(t *testing.T) {
	found := examples(t, "admin.md")
	host := filepath.Join(t.TempDir(), "host.yaml")
	if err := os.WriteFile(host, []byte(found[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	shown, err := config.ShowHost(host, "", "")
	if err != nil {
		t.Fatalf("the example of host.yaml: %v", err)
	}
	saysAll(t, "host.yaml", shown, "tls.local_ca", "tls.plain", "metrics.users", "backend.connect")
	policy := strings.NewReplacer("/usr/local/libexec/cardbroker-ask", program(t)).Replace(found[1])
	policy = regexp.MustCompile(`(?s)    page_jwt:.*?(    lease_max:)`).ReplaceAllString(policy, "$1")
	shown, err = config.ShowPolicy(policyDir(t, map[string]string{"all.yaml": policy}))
	if err != nil {
		t.Fatalf("the example of machine policy: %v", err)
	}
	saysAll(t, "machine policy", shown)
}

// saysAll checks that the example left no key to its default, but those of others.
func saysAll(t *testing.T, of string, shown []config.Setting, others ...string) {
	t.Helper()
	for _, s := range shown {
		if s.Source == "default" && !strings.HasPrefix(s.Key, "modules.opensc.") && !strings.Contains(" "+strings.Join(others, " ")+" ", " "+s.Key+" ") {
			t.Errorf("the example of %s does not have %s", of, s.Key)
		}
	}
}
