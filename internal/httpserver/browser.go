// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"mime"
	"net/http"
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
	case route.Access != Public && (s.cfg.Consented == nil || !s.cfg.Consented(origin)):
		return cardbroker.Refusef(cardbroker.ConsentRequired, cardbroker.RuleOriginUnconsented, "the user has not consented to this origin")
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		return nil
	case r.Header.Get("X-CSRF-Token") == "":
		return cardbroker.Refusef(cardbroker.OriginDenied, cardbroker.RuleCSRFToken, "the header X-CSRF-Token is missing")
	case r.ContentLength != 0 && !isJSON(r.Header.Get("Content-Type")):
		return cardbroker.Refusef(cardbroker.OriginDenied, cardbroker.RuleMediaType, "the body must be application/json")
	}
	return nil
}

// checkNoOrigin decides on a request without Origin: a program's, or one of a browser that has nothing to hide.
func (s *Server) checkNoOrigin(r *http.Request, route Route) error {
	browser := fromBrowser(r.Header)
	switch {
	case browser && (route.Pushes || r.Header.Get("Upgrade") != ""):
		return cardbroker.Refusef(cardbroker.OriginDenied, cardbroker.RuleSocketOrigin, "a web page's event stream must name its origin")
	case browser && !sameOriginPage(r):
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

// fromBrowser says whether the request has a header that only browsers can send.
func fromBrowser(h http.Header) bool {
	for name := range h {
		if strings.HasPrefix(name, "Sec-Fetch-") {
			return true
		}
	}
	return false
}

// sameOriginPage says whether a browser fetches one of our own pages: the user typed its address, or the page itself
// asks.
func sameOriginPage(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return r.Method == http.MethodGet && (site == "same-origin" || site == "none")
}

func isJSON(contentType string) bool {
	mediaType, _, err := mime.ParseMediaType(contentType)
	return err == nil && mediaType == "application/json"
}
