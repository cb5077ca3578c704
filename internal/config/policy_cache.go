// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package config

import "time"

// CacheMode says where agents keep the certificates of cards, so that they are not read anew each time.
type CacheMode string

// The modes.
const (
	CacheOff    CacheMode = "off"
	CacheMemory CacheMode = "memory" // as long as the card is in the reader
	CacheDisk   CacheMode = "disk"   // also in the agent's state directory, encrypted to host and user
)

// Cache is what is kept of cards. [LoadPolicy] sets the defaults; the zero value keeps nothing.
type Cache struct {
	Certificates CacheMode
	Age          time.Duration // after which they are read anew
}

// The default, and the most that policy may set, in days.
const (
	DefaultCacheDays = 30
	maxCacheDays     = 365
)

const day = 24 * time.Hour

// cacheText is what a file says of it. A pointer that is nil was not there.
type cacheText struct {
	Certificates *string `yaml:"certificates"`
	Days         *int    `yaml:"days"`
}

// defaultCache counts where policy is silent. What is kept is public, and the user's own; an agent begins anew with every logon,
// so that what it kept in memory only would be gone when it is needed most.
func defaultCache() Cache { return Cache{Certificates: CacheDisk, Age: DefaultCacheDays * day} }

func (c *Cache) load(path string, said cacheText) error {
	if mode := said.Certificates; mode != nil {
		switch CacheMode(*mode) {
		case CacheOff, CacheMemory, CacheDisk:
		default:
			return wrong(path, "cache.certificates: %q, want off, memory or disk", *mode)
		}
		c.Certificates = CacheMode(*mode)
	}
	if days := said.Days; days != nil {
		if *days < 1 || *days > maxCacheDays {
			return wrong(path, "cache.days: %d, want 1 to %d", *days, maxCacheDays)
		}
		c.Age = time.Duration(*days) * day
	}
	return nil
}
