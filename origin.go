// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardbroker

import "net/url"

// Origin is a web page's origin as browsers send it: scheme://host[:port], RFC 6454 §6.2.
type Origin string

// maxOrigin is the length of the longest origin that is accepted, in bytes.
const maxOrigin = 255

// ParseOrigin accepts the origin of a web page or an extension and nothing more: no path, no user, no "null". Errors:
// Invalid.
func ParseOrigin(text string) (Origin, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || text != u.Scheme+"://"+u.Host || len(text) > maxOrigin {
		return "", Errorf(Invalid, "an origin is scheme://host[:port]")
	}
	return Origin(text), nil
}
