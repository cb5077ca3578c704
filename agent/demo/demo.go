// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package demo serves the demo page, which shows what web pages can do with the SDK of sdk/js. It is a page like any other: it has an
// origin of its own, needs the user's consent, and has no right that others have not.
package demo

import (
	"crypto/rand"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/web"
)

// What the page is called: something that nobody guesses stands between.
const (
	prefix = "cardbroker-demo-"
	suffix = ".localhost"
)

// Page is the page of one agent. Name is its host name, made up for the agent's life: while that lasts nobody else can give a
// browser anything of that origin, and afterwards it is worth nothing ([Page.Ended]). An origin of 127.0.0.1 would be that of
// whichever program, of whichever user, has the port next, and with it the consent.
type Page struct {
	Name   string
	served bool
}

// New makes up a name. A page that is not served has no routes.
func New(served bool) Page { return Page{prefix + strings.ToLower(rand.Text()) + suffix, served} }

// Ended says whether an origin is that of another agent's page, which may be somebody else's by now: whoever has seen the name, in
// the arguments of a prompt perhaps, can take its port when that agent has gone.
func (p Page) Ended(origin cardbroker.Origin) bool {
	_, host, _ := strings.Cut(string(origin), "://")
	host, _, _ = strings.Cut(host, ":")
	return strings.HasPrefix(host, prefix) && strings.HasSuffix(host, suffix) && host != p.Name
}

// Routes are the page and what it needs.
func (p Page) Routes() []httpserver.Route {
	if !p.served {
		return nil
	}
	return []httpserver.Route{
		{Method: "GET", Path: "/demo", Access: httpserver.Public, Handle: p.page, Guest: true},
		{Method: "GET", Path: "/demo/{file}", Access: httpserver.Public, Handle: p.file, Guest: true},
	}
}

// page serves the page under its own name, and leads there who asks for it by another.
func (p Page) page(w http.ResponseWriter, r *http.Request) error {
	web.SetHeaders(w.Header(), web.DemoPolicy)
	if dest := r.Header.Get("Sec-Fetch-Dest"); dest != "" && dest != "document" {
		return cardbroker.Refusef(cardbroker.OriginDenied, cardbroker.RuleOwnPage, "the page is shown by itself only")
	}
	port := strconv.Itoa(int(httpserver.CallerOf(r.Context()).Server.Port()))
	if host := net.JoinHostPort(p.Name, port); r.Host != host {
		w.Header().Set("Location", "http://"+host+"/demo")
		w.WriteHeader(http.StatusSeeOther)
		return nil
	}
	return write(w, "demo.html")
}

func (p Page) file(w http.ResponseWriter, r *http.Request) error {
	web.SetHeaders(w.Header(), web.DemoPolicy)
	return write(w, r.PathValue("file"))
}

func write(w http.ResponseWriter, name string) error {
	content, mediaType, err := web.DemoFile(name)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", mediaType)
	w.Write(content) // an error is the connection's
	return nil
}
