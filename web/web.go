// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package web is the agent's own page, on which a user answers web pages that ask for his consent. It is built in, asks no
// other host for anything, and knows nothing of the agent but what its script asks for.
package web

import (
	"embed"
	"html/template"
	"io"
	"net/http"

	"github.com/cardbroker/cardbroker"
)

//go:embed consent.html consent.js consent.css
var files embed.FS

// Policy is the Content-Security-Policy of the page: nothing from elsewhere, no script in the text, in nobody's frame.
const Policy = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; object-src 'none'"

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

// File returns a file of the page and its media type; one that is not there is ObjectUnknown.
func File(name string) (content []byte, mediaType string, err error) {
	mediaType = map[string]string{"consent.js": "text/javascript", "consent.css": "text/css"}[name]
	if content, err = files.ReadFile(name); err != nil || mediaType == "" {
		return nil, "", cardbroker.Errorf(cardbroker.ObjectUnknown, "the page has no such file")
	}
	return content, mediaType + "; charset=utf-8", nil
}

// SetHeaders protects an answer that is part of the page.
func SetHeaders(h http.Header) {
	h.Set("Content-Security-Policy", Policy)
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
}
