// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package browser

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker/test/chromium"
)

const deploy = "../../deploy/browser"

// reach is what a page finds of the networks behind its own.
const reach = `(async (broker, agent) => {
	let state = 'unknown';
	try { state = (await navigator.permissions.query({name: 'loopback-network'})).state } catch {}
	const short = async said => (await said).replace(/^200 (ok|<.*)$/s, 'ok');
	return [state, await short(get(broker + '/info')), await short(get(broker.replace('127.0.0.1', 'localhost') + '/info')),
		await socket(agent + '/cb/v1/events'), await short(get('http://10.1.1.10/', {mode: 'no-cors'}))].join(' ');
})`

// reach has a page of the user say what it reaches: the state of its permission, the broker at 127.0.0.1 and at localhost, a
// WebSocket at the agent, and the local network.
func (u *user) reach(t *testing.T, page, want string) {
	t.Helper()
	p := u.open(page)
	defer p.Close()
	if got := u.h.do(p, fmt.Sprintf("%s(%q, %q)", reach, u.h.broker, u.agent)); got != want {
		t.Errorf("%s reaches %s, want %s: %q", page, got, want, p.Told())
	}
}

// consent has a user consent to the origins of the pages of this test: what fails then fails in the browser.
func (h *host) consent(u *user, pages ...string) {
	for _, page := range pages {
		u.run(nil, "agent", "consent", "approve", page)
	}
}

// TestLocalNetworkAccess is the table of what Chromium lets pages reach, by where they are from and by the user's answer.
func TestLocalNetworkAccess(t *testing.T) {
	h := newHost(t)
	alice := &h.users[0]
	alice.browse()
	t.Log(alice.Version)
	h.consent(alice, app, "http://app.example", "http://intranet.example", "https://intranet.example", h.web.page)
	for _, test := range []struct {
		name, page, permission, setting string
		want                            string // permission, /info at 127.0.0.1 and localhost, WebSocket, local network
	}{
		{"a public page over http", "http://app.example", "", "", "denied failed failed failed failed"},
		{"a public page; nobody answers", app, "", "", "prompt failed failed failed failed"},
		{"the same, denied", app, "loopback-network", "denied", "denied failed failed failed failed"},
		{"the same, allowed", app, "loopback-network", "granted", "granted ok ok open failed"},
		{"a page of the intranet over http", "http://intranet.example", "", "", "denied ok ok open opaque"},
		{"a page of the intranet", "https://intranet.example", "", "", "prompt ok ok open opaque"},
		{"a page of this host", h.web.page, "", "", "prompt ok ok open opaque"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.permission != "" {
				if err := alice.SetPermission(test.page, test.permission, test.setting); err != nil {
					t.Fatal(err)
				}
			}
			alice.reach(t, test.page, test.want)
		})
	}
	if err := alice.SetPermission("http://app.example", "loopback-network", "granted"); err == nil {
		t.Error("a page over http can be allowed to reach loopback: tell docs/browsers.md")
	}
	p := alice.open(app) // it is allowed now
	defer p.Close()
	if got := h.do(p, "get('http://127.0.0.1:1/info')"); got != "failed" {
		t.Errorf("where nobody listens, the page gets %s; it tells that from a denial by the permission's state alone", got)
	}
	frames(t, alice, p)
}

// frames: Chromium looks at the page that the user sees, so a frame of any site in it is let through as that page is, whatever
// the frame's attribute allow says. The agent looks at the frame's own origin.
func frames(t *testing.T, alice *user, p *chromium.Page) {
	const site = "https://app2.example/"
	for _, setting := range []string{chromium.Granted, chromium.Denied} {
		if err := alice.SetPermission(app, "loopback-network", setting); err != nil {
			t.Fatal(err)
		}
		for _, allow := range []string{"", "loopback-network"} {
			alice.h.do(p, fmt.Sprintf(`within(60000, done => {
				document.body.innerHTML = '<iframe allow="%s" src="%s">';
				document.body.firstChild.onload = () => done('loaded');
			})`, allow, site))
			inner, err := alice.Frame(site)
			if err != nil {
				t.Fatal(err)
			}
			got := alice.h.do(inner, fmt.Sprintf("(async () => await get(%q) + ', ' + await get(%q))()", alice.h.broker+"/info", alice.agent+"/v3/readers"))
			want := map[string]string{chromium.Granted: "200 ok, 412 origin_unconsented", chromium.Denied: "failed, failed"}[setting]
			if got != want {
				t.Errorf("in a page that is %s, a frame of another site with allow=%q gets %s, want %s", setting, allow, got, want)
			}
		}
	}
}

// TestPolicies applies the files of deploy/browser as its README says, and has pages from the network reach the agent without
// anybody being asked; those that the files do not name do not.
func TestPolicies(t *testing.T) {
	h := newHost(t)
	alice := &h.users[0]
	const named, other = "https://app2.example", app
	h.consent(alice, named, other)
	for _, test := range []struct{ file, want string }{
		{"loopback.json", "granted ok ok open failed"}, {"older.json", "granted ok ok open opaque"},
	} {
		t.Run(test.file, func(t *testing.T) {
			line := readmeLine(t, policies, test.file)
			apply := exec.CommandContext(h.Context(), "sh", "-ec", line)
			apply.Dir = deploy
			apply.Env = []string{"PATH=/usr/bin:/bin", "ORIGIN=" + named}
			if out, err := apply.CombinedOutput(); err != nil {
				t.Fatalf("%s: %s", line, out)
			}
			alice.browse()
			defer alice.Browser.Close()
			alice.reach(t, named, test.want)
			alice.reach(t, other, "prompt failed failed failed failed")
		})
	}
}

// readmeLine is the README's command for a directory of policies, with another file if it is about one.
func readmeLine(t *testing.T, dir, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(deploy, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^    sed .* loopback\.json >` + dir + `/cardbroker\.json$`).FindString(string(text))
	if line == "" || !strings.Contains(string(text), "`"+file+"`") {
		t.Fatalf("deploy/browser/README.md has no command for %s and %s", dir, file)
	}
	return strings.Replace(line, "loopback.json", file, 1)
}

// TestRegistryFiles: what the files for Windows set is what those for Linux do, for each of the browsers.
func TestRegistryFiles(t *testing.T) {
	for _, name := range []string{"loopback", "older"} {
		var want map[string][]string
		text, err := os.ReadFile(filepath.Join(deploy, name+".json"))
		if err == nil {
			err = json.Unmarshal(text, &want)
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err = os.ReadFile(filepath.Join(deploy, name+".reg"))
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(text), "\r\n")
		if lines[0] != "Windows Registry Editor Version 5.00" || strings.Contains(strings.Join(lines, ""), "\n") {
			t.Errorf("%s.reg begins with %q, or its lines end as on Linux", name, lines[0])
		}
		for _, browser := range []string{`Google\Chrome`, `Microsoft\Edge`, "Chromium"} {
			got, key := map[string][]string{}, ""
			for _, line := range lines {
				if path, ok := strings.CutPrefix(line, `[HKEY_LOCAL_MACHINE\SOFTWARE\Policies\`); ok {
					key, _ = strings.CutPrefix(strings.TrimSuffix(path, "]"), browser+`\`)
					if key == strings.TrimSuffix(path, "]") {
						key = ""
					}
				} else if _, value, ok := strings.Cut(line, "="); ok && key != "" {
					got[key] = append(got[key], strings.Trim(value, `"`))
				}
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s.reg sets %v for %s, want %v", name, got, browser, want)
			}
		}
	}
}
