// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package browser

import (
	"os"
	"path/filepath"
	"testing"
)

// pictures is where to keep pictures of pages, for people to look at; nowhere if it is not set.
const pictures = "CARDBROKER_TEST_PICTURES"

// look says what is wrong with a page of documentation: a style that was not let in, links that lead nowhere, text that is wider than
// the window, and whatever was loaded beside the page.
const look = `(() => {
	const wrong = [];
	if (getComputedStyle(document.body).margin != '0px') wrong.push('it has no style');
	for (const a of document.querySelectorAll('a[href^="#"]'))
		if (!document.getElementById(a.getAttribute('href').slice(1))) wrong.push(a.getAttribute('href') + ' leads nowhere');
	if (document.documentElement.scrollWidth > innerWidth) wrong.push('it is ' + document.documentElement.scrollWidth + ' wide');
	for (const e of performance.getEntriesByType('resource')) wrong.push('it loads ' + e.name);
	if (document.scripts.length) wrong.push('it has a script');
	const ids = [...document.querySelectorAll('[id]')].map(e => e.id);
	for (const id of ids) if (ids.indexOf(id) != ids.lastIndexOf(id)) wrong.push(id + ' is there twice');
	return wrong.join('; ');
})()`

// TestDocsPage: the user types the address of the documentation, at the broker and at his agent. It loads nothing else, and the
// browser complains of nothing, in a window of whatever size.
func TestDocsPage(t *testing.T) {
	h := newHost(t)
	alice := &h.users[0]
	alice.browse()
	for _, server := range []string{h.broker, alice.agent} {
		p := alice.open(server + "/docs")
		for _, picture := range []struct {
			name, anchor  string
			width, height int
		}{
			{"wide", "", 1440, 900}, {"table", "#r-card_mute", 1440, 900}, {"one", "#verifyPIN", 1440, 1200},
			{"phone", "#offer", 390, 844}, {"dark", "#readers", 1100, 1000},
		} {
			if picture.name == "dark" {
				if err := p.Dark(); err != nil {
					t.Fatal(err)
				}
			}
			if err := p.Run("location.hash = '"+picture.anchor+"'", nil); err != nil {
				t.Fatal(err)
			}
			png, err := p.Screenshot(picture.width, picture.height)
			if err != nil {
				t.Fatal(err)
			}
			if got := h.do(p, look); got != "" {
				t.Errorf("%s/docs, %s: %s", server, picture.name, got)
			}
			if dir := os.Getenv(pictures); dir != "" {
				if err := os.WriteFile(filepath.Join(dir, "docs-"+picture.name+".png"), png, 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
		if told := p.Told(); len(told) > 0 {
			t.Errorf("%s/docs: the browser says %q", server, told)
		}
		p.Close()
	}
}
