// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"time"

	"github.com/cardbroker/cardbroker/internal/certs"
	"github.com/cardbroker/cardbroker/internal/token"
)

// soonAge is how long a list is kept at most while a certificate of it is in its last days: that is when certificates are
// renewed, perhaps on another host. It is also how often a user is told.
const soonAge = 24 * time.Hour

// until says how long a list that was read now may be kept: as long as the age says, but not past a moment at which one of its
// certificates begins, comes into its last days, or ends.
func until(list []token.Certificate, now time.Time, age time.Duration) time.Time {
	end := now.Add(age)
	for _, one := range list {
		c, err := certs.ParseDER(one.DER)
		if err != nil {
			continue
		}
		for _, moment := range []time.Time{c.NotBefore, c.NotAfter.Add(-certs.Soon), c.NotAfter} {
			if moment.After(now) && moment.Before(end) {
				end = moment
			}
		}
		if soon := now.Add(soonAge); c.Warning(now) == certs.ExpiresSoon && soon.Before(end) {
			end = soon
		}
	}
	return end
}
