// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package prompt

import (
	"os"

	"github.com/cardbroker/cardbroker/internal/peer"
)

// usable says whether a program is there, and root's alone.
func usable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 && peer.CheckFile(path) == nil
}
