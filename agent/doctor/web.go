// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"net/url"
	"strings"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/doctor"
)

func (w *World) proxy() []doctor.Finding {
	const fix = "exempt localhost, 127.0.0.1 and ::1 there (no_proxy, bypass list; in a PAC file: DIRECT)"
	var pages, programs, perhaps []string
	for _, p := range w.Proxies {
		switch {
		case p.Takes && p.Page:
			pages = append(pages, p.Where)
		case p.Takes:
			programs = append(programs, p.Where)
		default:
			perhaps = append(perhaps, p.Where)
		}
	}
	switch {
	case len(pages) > 0:
		return one(doctor.Fail(cardbroker.Unavailable, "proxy", fix, "browsers take connections to this host to a proxy: %s", strings.Join(pages, "; ")))
	case len(programs) > 0:
		return one(doctor.Warn("proxy", fix, "local programs take connections to this host to a proxy; browsers do not: %s", strings.Join(programs, "; ")))
	case len(perhaps) > 0:
		return one(doctor.OK("proxy", "a proxy or PAC file is set, from which today's browsers exempt this host by themselves: %s", strings.Join(perhaps, "; ")))
	}
	return one(doctor.OK("proxy", "no proxy takes connections to this host"))
}

func (w *World) browser() (findings []doctor.Finding) {
	const policy = "have the administrator take the page from LoopbackNetworkBlockedForUrls and LocalNetworkAccessBlockedForUrls; docs/browsers.md has policies that allow pages"
	for _, b := range w.Browsers {
		var blocked []string
		for _, origin := range w.Consents {
			if matchesAny(b.Blocked, string(origin)) {
				blocked = append(blocked, string(origin))
			}
		}
		everything := matchesAny(b.Blocked, "")
		switch {
		case everything || len(blocked) > 0:
			who := strings.Join(blocked, ", ")
			if everything {
				who = "all pages"
			}
			findings = append(findings, doctor.Fail(cardbroker.OriginDenied, "browser", policy, "machine policy of %s keeps %s from reaching this host", b.Name, who))
		case len(b.Refused) > 0:
			findings = append(findings, doctor.Warn("browser", "if the page is yours, allow it beside its address (local network, or apps on this device)",
				"in %s you have denied the permission to reach this host to %s", b.Name, strings.Join(b.Refused, ", ")))
		case len(b.Blocked) > 0:
			findings = append(findings, doctor.Warn("browser", policy, "machine policy of %s keeps these pages from reaching this host: %s", b.Name, strings.Join(b.Blocked, ", ")))
		}
	}
	if findings == nil {
		return one(doctor.OK("browser", "no browser keeps pages from this host, as far as its files say; it may ask you"))
	}
	return findings
}

// matchesAny says whether one of a browser's patterns is for an origin; for "": for all pages.
func matchesAny(patterns []string, origin string) bool {
	for _, p := range patterns {
		if matches(p, origin) {
			return true
		}
	}
	return false
}

func matches(pattern, origin string) bool {
	if pattern == "*" {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil || origin == "" {
		return false
	}
	scheme, rest, given := strings.Cut(pattern, "://")
	if !given {
		scheme, rest = "*", pattern
	}
	rest, _, _ = strings.Cut(rest, "/")
	if scheme != "*" && scheme != u.Scheme {
		return false
	}
	host, port := rest, ""
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, ']') {
		host, port = rest[:i], rest[i+1:]
	}
	if port != "" && port != "*" && port != u.Port() && (u.Port() != "" || port != map[string]string{"http": "80", "https": "443"}[u.Scheme]) {
		return false
	}
	if name, any := strings.CutPrefix(host, "[*.]"); any {
		return u.Hostname() == name || strings.HasSuffix(u.Hostname(), "."+name)
	}
	return host == "*" || host == u.Hostname()
}
