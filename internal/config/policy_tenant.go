// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/pinpad"
)

// TenantPolicy is what one tenant may do.
type TenantPolicy struct {
	PIN        cardbroker.PINMode
	Control    []uint32              // functions of the reader, by the control codes of pcsc-lite
	Origins    []cardbroker.Origin   // web pages that may offer readers to it
	PageJWT    *PageJWT              // that those pages have to show; nil: none
	Durability cardbroker.Durability // of the records of its leases, at least
	LeaseMax   time.Duration         // of a lease from its beginning, however often it is renewed; 0: no limit
	Standing   []string              // readers that are offered to it for good: names, in which * stands for any text
	Firewall   *Firewall             // which commands its back ends may send; nil: all that no tenant is forbidden
}

// Tenant returns a tenant's policy; one that no file names may nothing.
func (p Policy) Tenant(name cardbroker.Tenant) TenantPolicy { return p.tenants[name] }

// Standing returns the tenants that readers are offered to for good, sorted.
func (p Policy) Standing() []cardbroker.Tenant {
	return slices.DeleteFunc(p.names(), func(name cardbroker.Tenant) bool { return len(p.tenants[name].Standing) == 0 })
}

// names returns the tenants that policy names, sorted.
func (p Policy) names() []cardbroker.Tenant { return slices.Sorted(maps.Keys(p.tenants)) }

// Stands says whether the reader of that name is offered to the tenant for good.
func (t TenantPolicy) Stands(reader string) bool {
	return slices.ContainsFunc(t.Standing, func(pattern string) bool { return fits(pattern, reader) })
}

// fits says whether a name is what a pattern says, in which * stands for any text. Names of readers have brackets in them.
func fits(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	name, ok := strings.CutPrefix(name, parts[0])
	if len(parts) == 1 {
		return ok && name == ""
	}
	last := parts[len(parts)-1]
	for _, part := range parts[1 : len(parts)-1] {
		_, after, found := strings.Cut(name, part)
		name, ok = after, ok && found
	}
	return ok && strings.HasSuffix(name, last)
}

// minLeaseMax is the least that policy may set for a lease: less is a way to say no, for which there are others.
const minLeaseMax = time.Second

// tenantText is what a file says of one tenant.
type tenantText struct {
	PIN        *string  `yaml:"pin"`
	Durability *string  `yaml:"durability"`
	LeaseMax   *string  `yaml:"lease_max"`
	Control    []uint32 `yaml:"control"`
	Origins    []string `yaml:"origins"`
	PageJWT    *PageJWT `yaml:"page_jwt"`
	Standing   []string `yaml:"standing"`

	Firewall *firewallText `yaml:"firewall"`
}

// loadTenant puts what a file says of one tenant over what was read before.
func (p *Policy) loadTenant(path, name string, said tenantText) error {
	tenant, err := cardbroker.ParseTenant(name)
	if err != nil {
		return wrong(path, "tenants: %q is not a tenant's name", name)
	}
	known := p.tenants[tenant]
	if said.PIN != nil {
		if known.PIN, err = cardbroker.ParsePINMode(*said.PIN); err != nil {
			return wrong(path, "tenants.%s.pin: %q, want deny, agent or passthrough", name, *said.PIN)
		}
	}
	if said.Durability != nil {
		if known.Durability, err = cardbroker.ParseDurability(*said.Durability); err != nil {
			return wrong(path, "tenants.%s.durability: %q, want none, crash or power", name, *said.Durability)
		}
	}
	if said.LeaseMax != nil {
		if known.LeaseMax, err = time.ParseDuration(*said.LeaseMax); err != nil || known.LeaseMax < minLeaseMax {
			return wrong(path, "tenants.%s.lease_max: %q, want %v or more", name, *said.LeaseMax, minLeaseMax)
		}
	}
	if said.Control != nil {
		if slices.ContainsFunc(said.Control, pinpad.Reserved) {
			return wrong(path, "tenants.%s.control: the functions of pin pads, 0x42330000 to 0x423300FF, and the question for them, 0x42000D48, are not for tenants", name)
		}
		known.Control = said.Control
	}
	if said.Origins != nil {
		known.Origins = make([]cardbroker.Origin, len(said.Origins))
		for i, text := range said.Origins {
			if known.Origins[i], err = cardbroker.ParseOrigin(text); err != nil {
				return wrong(path, "tenants.%s.origins: %q is not scheme://host[:port]", name, text)
			}
		}
	}
	if said.PageJWT != nil {
		if err := checkPageJWT(path, name, said.PageJWT); err != nil {
			return err
		}
		known.PageJWT = said.PageJWT
	}
	if said.Standing != nil {
		if slices.Contains(said.Standing, "") {
			return wrong(path, "tenants.%s.standing: a reader's name is empty; * stands for all", name)
		}
		known.Standing = said.Standing
	}
	if said.Firewall != nil {
		if known.Firewall, err = known.Firewall.load(path, name, *said.Firewall); err != nil {
			return err
		}
	}
	p.tenants[tenant] = known
	return nil
}
