// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import "github.com/cardbroker/cardbroker/internal/config"

// Fits is whether an ATR is what a pattern says.
func Fits(pattern, atr string) bool { return fits(pattern, atr) }

// ModuleFile looks at a module's file, which may be anybody's.
func ModuleFile(path string) Module {
	return moduleFile(config.Module{Library: path}, func(string) error { return nil })
}

// ModuleOfRoot looks at a module's file as the doctor does.
func ModuleOfRoot(path string) Module { return moduleFile(config.Module{Library: path}, checkRoot) }
