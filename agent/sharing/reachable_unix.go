// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package sharing

import (
	"os"
	"path/filepath"

	"github.com/cardbroker/cardbroker/agent/home"
)

// reachable says whether other users may reach the socket: no directory on its path, links resolved, is our own and closed
// to everybody else. Of a path that cannot be followed nothing is known, and so it is.
func reachable(socket string) bool {
	path, err := filepath.EvalSymlinks(socket)
	if err != nil {
		return true
	}
	for at := filepath.Dir(path); ; at = filepath.Dir(at) {
		if info, err := os.Lstat(at); err == nil && home.Private(info) {
			return false
		}
		if at == filepath.Dir(at) {
			return true
		}
	}
}
