// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"encoding/hex"
	"os"
	"strings"
)

// HostID returns what tells this host from all others, machine-id(5); empty: it has none yet.
func HostID() string {
	for _, name := range []string{"/etc/machine-id", "/var/lib/dbus/machine-id"} {
		text, err := os.ReadFile(name)
		id := strings.TrimSpace(string(text))
		if raw, bad := hex.DecodeString(id); err == nil && bad == nil && len(raw) == 16 {
			return id
		}
	}
	return ""
}
