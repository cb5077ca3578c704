// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"context"
	"crypto/subtle"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/cardbroker/cardbroker"
)

// Headers that the clients of the Trust1Connector contract send.
const allowHeaders = "authorization,content-type,x-csrf-token,x-t1c-billing-tag,x-pace-pin,x-pace-can"

// SetCORS lets the page that asks read the answer, errors included: existing clients take an error that they cannot read
// for a network fault. Reading is no permission: checkBrowser decides on that.
func SetCORS(h http.Header, r *http.Request) {
	h.Add("Vary", "Origin")
	origins := r.Header.Values("Origin")
	if len(origins) != 1 {
		return
	}
	if _, err := cardbroker.ParseOrigin(origins[0]); err != nil {
		return
	}
	h.Set("Access-Control-Allow-Origin", origins[0])
	h.Set("Access-Control-Allow-Credentials", "true")
	h.Set("Access-Control-Expose-Headers", "Retry-After")
}

// allowMethods are what clients of the contract use.
const allowMethods = "GET, POST, PATCH"

// methods are those of the contract and what else the routes have.
func methods(routes []Route) string {
	list := allowMethods
	for _, route := range routes {
		if !strings.Contains(list, route.Method) {
			list += ", " + route.Method
		}
	}
	return list
}

// Preflight answers an OPTIONS request, whatever it asks for: pages may send these methods, and read how they end.
func Preflight(w http.ResponseWriter, methods string) {
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", methods)
	h.Set("Access-Control-Allow-Headers", allowHeaders)
	h.Set("Access-Control-Allow-Private-Network", "true") // browsers before local-network permissions ask for it
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
}

// checkBrowser holds the table of requests: what a web page may do, and that a browser's request never passes for a
// local program's.
func (s *Server) checkBrowser(r *http.Request, route Route) error {
	if route.Access == Agent || route.Access == Service {
		return checkProgram(r)
	}
	origins := r.Header.Values("Origin")
	if len(origins) == 0 {
		return s.checkNoOrigin(r, route)
	}
	origin, err := cardbroker.ParseOrigin(origins[0])
	switch {
	case origins[0] == "null":
		return cardbroker.Refusef(cardbroker.OriginDenied, cardbroker.RuleOriginNull, "a page without an origin is not served")
	case len(origins) > 1 || err != nil:
		return cardbroker.Refusef(cardbroker.OriginDenied, cardbroker.RuleOriginMalformed, "the Origin header is malformed")
	case route.Access != Public && !s.fromOwnPage(r) && (s.cfg.Consented == nil || !s.cfg.Consented(origin)):
		return unconsented()
	case route.Access == Own && !s.fromOwnPage(r):
		return cardbroker.Refusef(cardbroker.OriginDenied, cardbroker.RuleOwnPage, "web pages may not do this")
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		return nil
	case r.Header.Get("X-CSRF-Token") == "":
		return cardbroker.Refusef(cardbroker.OriginDenied, cardbroker.RuleCSRFToken, "the header X-CSRF-Token is missing")
	case r.ContentLength != 0 && !isJSON(r.Header.Get("Content-Type")):
		return cardbroker.Refusef(cardbroker.OriginDenied, cardbroker.RuleMediaType, "the body must be application/json")
	}
	return nil
}

// checkProgram refuses whatever may come from a web page, or was led here by one: an Origin, what only browsers send, a page that
// it comes from, a name. A program says the address that it has connected to, which no DNS server can have given a page's name.
func checkProgram(r *http.Request) error {
	server := CallerOf(r.Context()).Server
	switch {
	case len(r.Header.Values("Origin")) > 0, len(r.Header.Values("Referer")) > 0, fromBrowser(r.Header):
		return cardbroker.Refusef(cardbroker.OriginDenied, cardbroker.RuleOwnPage, "web pages may not do this")
	case server.IsValid() && r.Host != server.String():
		return cardbroker.Refusef(cardbroker.OriginDenied, cardbroker.RuleHostHeader, "the Host header is not the address of the port: want %s", server)
	}
	return nil
}

// checkNoOrigin decides on a request without Origin: a program's, or one of a browser that has nothing to hide.
func (s *Server) checkNoOrigin(r *http.Request, route Route) error {
	browser := fromBrowser(r.Header)
	switch {
	case browser && (route.Pushes || r.Header.Get("Upgrade") != ""):
		return cardbroker.Refusef(cardbroker.OriginDenied, cardbroker.RuleSocketOrigin, "a web page's event stream must name its origin")
	case browser && !s.mayHideOrigin(r, route.Access):
		return cardbroker.Refusef(cardbroker.OriginDenied, cardbroker.RuleFetchNoOrigin, "a web page's request must name its origin")
	case !browser && s.cfg.PagesOnly && route.Access != Public:
		return cardbroker.Refusef(cardbroker.Forbidden, cardbroker.RuleLocalPrograms, "policy lets web pages in, but no other programs")
	}
	return nil
}

// pageOf says which page's share of its user's allowance a request counts for; "" is a program's.
func pageOf(r *http.Request) string {
	origins := r.Header.Values("Origin")
	if len(origins) == 1 {
		if origin, err := cardbroker.ParseOrigin(origins[0]); err == nil {
			return string(origin)
		}
	}
	if len(origins) > 0 || fromBrowser(r.Header) {
		return noOrigin
	}
	return ""
}

// FromPage says whether a web page sent the request, or anything else in a browser.
func FromPage(r *http.Request) bool { return pageOf(r) != "" }

// fromBrowser says whether the request has a header that only browsers can send.
func fromBrowser(h http.Header) bool {
	for name := range h {
		if strings.HasPrefix(name, "Sec-Fetch-") {
			return true
		}
	}
	return false
}

// ownPage says whether the request is for the name of our own page. That name is the page's proof: no other program, of
// whatever user, can have given a browser anything of that name, whereas 127.0.0.1 with our port may have been another
// program's before it was ours, and what that left in a browser (a page, a service worker) has the origin of our address.
func (s *Server) ownPage(r *http.Request) bool { return s.named(r, s.cfg.Page) }

// named says whether the request is for a name that we have made up.
func (s *Server) named(r *http.Request, page string) bool {
	name, port, _ := cutLast(r.Host, ":")
	return page != "" && port == strconv.Itoa(int(CallerOf(r.Context()).Server.Port())) &&
		subtle.ConstantTimeCompare([]byte(strings.ToLower(name)), []byte(page)) == 1
}

// checkGuest refuses what is asked by the guest's name and is no part of that page: it reaches the rest as pages from elsewhere do,
// by the names of this program, with an Origin of its own and with the user's consent.
func (s *Server) checkGuest(r *http.Request, route Route) error {
	if !route.Guest && s.named(r, s.cfg.Guest) {
		return cardbroker.Refusef(cardbroker.OriginDenied, cardbroker.RuleHostHeader, "this page's name is for nothing but the page")
	}
	return nil
}

// fromOwnPage says whether our own page sent the request: its origin is the name that it asks.
func (s *Server) fromOwnPage(r *http.Request) bool {
	return s.ownPage(r) && r.Header.Get("Origin") == "http://"+strings.ToLower(r.Host)
}

// mayHideOrigin says whether a browser may ask without an Origin: a GET, by the user who typed an address, by our own page,
// or for what is anybody's; and a whole page of ours to look at.
func (s *Server) mayHideOrigin(r *http.Request, access Access) bool {
	if r.Method != http.MethodGet || access != Public && !s.ownPage(r) {
		return false
	}
	site := r.Header.Get("Sec-Fetch-Site")
	whole := r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
	return site == "same-origin" || site == "none" || whole && (s.ownPage(r) || s.named(r, s.cfg.Guest))
}

type (
	consentKey struct{}
	ownKey     struct{}
)

// FromOwnPage says whether our own page sent the request.
func FromOwnPage(r *http.Request) bool { return r.Context().Value(ownKey{}) != nil }

// during has the request's context end with the consent that it is served by.
func (s *Server) during(r *http.Request, access Access) (*http.Request, func()) {
	origin := cardbroker.Origin(r.Header.Get("Origin"))
	if s.fromOwnPage(r) {
		return r.WithContext(context.WithValue(r.Context(), ownKey{}, true)), func() {}
	}
	if origin == "" || access == Public || s.cfg.During == nil {
		return r, func() {}
	}
	consent := s.cfg.During(origin)
	ctx, stop := While(context.WithValue(r.Context(), consentKey{}, consent), consent)
	return r.WithContext(ctx), stop
}

// Outlive returns ctx for what outlives the request r, such as a WebSocket: it ends, too, when the consent ends that r is
// served by. stop is called in the end.
func Outlive(ctx context.Context, r *http.Request) (_ context.Context, stop func()) {
	if consent, ok := r.Context().Value(consentKey{}).(context.Context); ok {
		return While(ctx, consent)
	}
	return ctx, func() {}
}

// While returns ctx, ended by the end of a consent too: with ConsentRequired as its cause. That costs no goroutine until it
// happens. stop is called in the end.
func While(ctx, consent context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	forget := context.AfterFunc(consent, func() { cancel(unconsented()) })
	return ctx, func() {
		forget()
		cancel(nil)
	}
}

// revoked returns the error of a request whose page has lost its consent.
func revoked(ctx context.Context) error {
	if err := context.Cause(ctx); cardbroker.RuleOf(err) == cardbroker.RuleOriginUnconsented {
		return err
	}
	return nil
}

func unconsented() error {
	return cardbroker.Refusef(cardbroker.ConsentRequired, cardbroker.RuleOriginUnconsented, "the user has not consented to this origin: ask him by POST /v3/consent at the broker, or have him run cardbroker agent consent approve")
}

func isJSON(contentType string) bool {
	mediaType, _, err := mime.ParseMediaType(contentType)
	return err == nil && mediaType == "application/json"
}
