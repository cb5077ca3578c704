// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package web has two pages of the agent's. On its own page a user answers web pages that ask for his consent. The demo shows what a
// web page can do with the SDK of sdk/js, and may no more than any page. They are built in, ask no other host for anything, and
// know nothing of the agent but what their scripts ask for.
package web

import (
	"embed"
	"html/template"
	"io"
	"net/http"
	"path"

	"github.com/cardbroker/cardbroker"
)

//go:embed consent.html consent.js consent.css demo
var files embed.FS

// What pages may load, as Content-Security-Policies: nothing from elsewhere, no script in the text, in nobody's frame.
const (
	Policy = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; object-src 'none'"

	// DemoPolicy lets the demo ask this computer alone, and make no script of a text.
	DemoPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src http://127.0.0.1:* http://localhost:* https://localhost:*; " +
		"frame-ancestors 'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'"
)

// Page is what the page's text says.
type Page struct {
	Host    string
	Session cardbroker.SessionID
}

// Consent writes the page.
func Consent(w io.Writer, p Page) error {
	page, err := template.ParseFS(files, "consent.html")
	if err != nil {
		return err
	}
	return page.Execute(w, p)
}

// File returns a file of the agent's own page and its media type; one that is not there is ObjectUnknown.
func File(name string) (content []byte, mediaType string, err error) { return file("", name) }

// DemoFile is the same of the demo, whose page is demo.html.
func DemoFile(name string) (content []byte, mediaType string, err error) { return file("demo/", name) }

func file(folder, name string) (content []byte, mediaType string, err error) {
	mediaType = map[string]string{".html": "text/html", ".js": "text/javascript", ".css": "text/css"}[path.Ext(name)]
	if content, err = files.ReadFile(folder + name); err != nil || mediaType == "" || name != path.Base(name) || name == "consent.html" {
		return nil, "", cardbroker.Errorf(cardbroker.ObjectUnknown, "the page has no such file")
	}
	return content, mediaType + "; charset=utf-8", nil
}

// SetHeaders protects an answer that is part of a page with that policy.
func SetHeaders(h http.Header, policy string) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
}
