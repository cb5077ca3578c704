// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package dialout

import (
	"fmt"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
)

// Check says whether the rendezvous is reached, for an administrator. number tells several apart.
func (c *Caller) Check(number int) api.Check {
	s := c.status.Load()
	check := api.Check{ID: fmt.Sprintf("connect-%d", number), Status: "ok"}
	lasts := time.Since(s.since).Round(time.Second)
	switch {
	case s.up:
		check.Detail = fmt.Sprintf("connected to %s of tenant %s for %v", c.cfg.URL, c.cfg.Tenant, lasts)
	case s.err == nil:
		check.Status, check.Detail = "warn", fmt.Sprintf("not yet connected to %s of tenant %s", c.cfg.URL, c.cfg.Tenant)
	default:
		check.Status, check.Fix = "fail", "look at the way there (network, proxy), at ca, and at the certificate or token that the host shows"
		check.Detail = fmt.Sprintf("no connection to %s of tenant %s for %v: %s", c.cfg.URL, c.cfg.Tenant, lasts, api.Describe(s.err).Description)
	}
	return check
}

// ByTenant returns where the tenants' rendezvous are. Of two of one tenant it is the first.
func ByTenant(callers []*Caller) map[cardbroker.Tenant]string {
	if len(callers) == 0 {
		return nil
	}
	urls := make(map[cardbroker.Tenant]string)
	for _, c := range callers {
		if urls[c.cfg.Tenant] == "" {
			urls[c.cfg.Tenant] = c.cfg.URL
		}
	}
	return urls
}
