// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardbroker

import (
	"net/netip"
	"strconv"
	"strings"
)

// Origin is a web page's origin as browsers send it: scheme://host[:port], RFC 6454 §6.2, in lower case and ASCII
// (names in other scripts as xn--…), without the scheme's default port. So two origins are the same if and only if they are
// equal, and none has a character that means something to a shell, a markup or a terminal.
type Origin string

// maxOrigin is the length of the longest origin that is accepted, in bytes.
const maxOrigin = 255

// ParseOrigin accepts the origin of a web page or an extension and nothing more: no path, no user, no "null". Errors:
// Invalid.
func ParseOrigin(text string) (Origin, error) {
	scheme, authority, ok := strings.Cut(text, "://")
	if !ok || len(text) > maxOrigin || !isScheme(scheme) {
		return "", Errorf(Invalid, "an origin is scheme://host[:port], as browsers write it")
	}
	host, port, hasPort := cutPort(authority)
	if !isHost(host) || hasPort && !isPort(scheme, port) {
		return "", Errorf(Invalid, "an origin is scheme://host[:port], as browsers write it: lower case, ASCII, no default port")
	}
	return Origin(text), nil
}

func isScheme(s string) bool {
	return s != "" && s[0] >= 'a' && s[0] <= 'z' && s == strings.ToLower(s) && indexOther(s, "+.-") < 0
}

// cutPort cuts what follows the last colon outside brackets.
func cutPort(authority string) (host, port string, found bool) {
	i := strings.LastIndexByte(authority, ':')
	if i < 0 || strings.HasSuffix(authority, "]") {
		return authority, "", false
	}
	return authority[:i], authority[i+1:], true
}

// isHost says whether s is a name or an address as browsers write it.
func isHost(s string) bool {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		addr, err := netip.ParseAddr(inner)
		return ok && err == nil && addr.Is6() && addr.Zone() == "" && inner == strings.ToLower(inner)
	}
	return s != "" && s == strings.ToLower(s) && indexOther(s, "._-") < 0
}

// isPort says whether s is a port that a browser writes.
func isPort(scheme, s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && s == strconv.FormatUint(n, 10) && !(scheme == "http" && n == 80 || scheme == "https" && n == 443)
}

// OriginPattern is an origin, or all origins below a domain: https://*.example.com stands for https://a.example.com and
// https://a.b.example.com, but neither for https://example.com nor for another scheme or port.
type OriginPattern string

// ParseOriginPattern accepts an origin, or one whose host begins with "*." and goes on with a name. Errors: Invalid.
func ParseOriginPattern(text string) (OriginPattern, error) {
	scheme, rest, wild := strings.Cut(text, "://*.")
	if !wild {
		_, err := ParseOrigin(text)
		return OriginPattern(text), err
	}
	host, _, _ := cutPort(rest)
	if _, err := netip.ParseAddr(host); err == nil || strings.Trim(host, ".0123456789") == "" || host[0] == '.' || host[0] == '[' {
		return "", Errorf(Invalid, "an origin's pattern is scheme://*.domain[:port]")
	}
	if _, err := ParseOrigin(scheme + "://" + rest); err != nil {
		return "", err
	}
	return OriginPattern(text), nil
}

// Matches says whether the pattern stands for the origin. It allocates nothing.
func (p OriginPattern) Matches(o Origin) bool {
	star := strings.Index(string(p), "://*.")
	if star < 0 {
		return string(p) == string(o)
	}
	scheme, domain := string(p[:star+len("://")]), string(p[star+len("://*"):])
	rest, ok := strings.CutPrefix(string(o), scheme)
	return ok && len(rest) > len(domain) && strings.HasSuffix(rest, domain)
}
