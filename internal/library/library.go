// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package library tells of a file whether it can be a PKCS#11 library for this system, in words that help who administers it. It
// reads the file and loads nothing.
package library

import (
	"debug/elf"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cardbroker/cardbroker"
)

// entry is what each PKCS#11 library has, v2.40 §5.4.
const entry = "C_GetFunctionList"

// Check says why the file cannot be loaded as a PKCS#11 library, as far as the file tells. Errors: Unavailable, with the cause.
func Check(path string) error {
	if !filepath.IsAbs(path) {
		return unavailable(nil, "%s is not an absolute path", path)
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return unavailable(err, "%s is not there", path)
	case err != nil:
		return unavailable(err, "%s cannot be looked at", path)
	case !info.Mode().IsRegular():
		return unavailable(nil, "%s is not a file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return unavailable(err, "%s cannot be read", path)
	}
	defer file.Close()
	library, err := elf.NewFile(file)
	if err != nil {
		return unavailable(err, "%s is not a library of this system (no ELF file)", path)
	}
	defer library.Close()
	if machine != elf.EM_NONE && library.Machine != machine {
		return unavailable(nil, "%s is for another kind of machine: it is %s, and this program is %s; install the vendor's %s edition",
			path, named(library.Machine), named(machine), named(machine))
	}
	if library.Type != elf.ET_DYN {
		return unavailable(nil, "%s is not a shared library", path)
	}
	symbols, err := library.DynamicSymbols()
	has := func(s elf.Symbol) bool { return s.Name == entry && s.Section != elf.SHN_UNDEF }
	if err != nil || !slices.ContainsFunc(symbols, has) {
		return unavailable(err, "%s is not a PKCS#11 module: it has no %s", path, entry)
	}
	return nil
}

// Unloadable says why a library that [Check] finds nothing against was refused by the loader. Errors: Unavailable.
func Unloadable(path string) error {
	missing := absent(path)
	if len(missing) == 0 {
		return unavailable(nil, "%s cannot be loaded; ldd says what is missing", path)
	}
	return unavailable(nil, "%s cannot be loaded: it needs %s, which cannot be found", path, strings.Join(missing, ", "))
}

// absent returns the libraries that the file is linked with and that are in none of the usual directories, nor beside it.
func absent(path string) []string {
	library, err := elf.Open(path)
	if err != nil {
		return nil
	}
	defer library.Close()
	needed, err := library.ImportedLibraries()
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(needed, func(name string) bool {
		for _, pattern := range []string{filepath.Dir(path), "/lib", "/lib64", "/lib/*", "/usr/lib", "/usr/lib64", "/usr/lib/*"} {
			if found, _ := filepath.Glob(filepath.Join(pattern, name)); len(found) > 0 {
				return true
			}
		}
		return false
	})
}

// named names a machine as vendors do.
func named(m elf.Machine) string {
	switch m {
	case elf.EM_X86_64:
		return "64-bit x86 (x86_64)"
	case elf.EM_386:
		return "32-bit x86 (i386)"
	case elf.EM_AARCH64:
		return "64-bit ARM (aarch64)"
	case elf.EM_ARM:
		return "32-bit ARM (armhf)"
	}
	return m.String()
}

func unavailable(err error, format string, args ...any) error {
	return cardbroker.Wrapf(err, cardbroker.Unavailable, format, args...)
}
