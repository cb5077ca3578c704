// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package library_test

import (
	"debug/elf"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/library"
	"github.com/cardbroker/cardbroker/internal/testenv"
)

// build builds a shared library.
func build(t *testing.T, name, code string, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	cmd := exec.Command(testenv.Tool(t, "gcc"), append([]string{"-shared", "-fPIC", "-o", path, "-x", "c", "-", "-x", "none"}, args...)...)
	cmd.Stdin = strings.NewReader(code)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v: %s", err, out)
	}
	return path
}

const module = "int C_GetFunctionList(void) { return 0; }"

// foreign returns the header of a library for another machine.
func foreign(class elf.Class, machine elf.Machine) string {
	head := make([]byte, 64)
	copy(head, elf.ELFMAG)
	head[elf.EI_CLASS], head[elf.EI_DATA], head[elf.EI_VERSION] = byte(class), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)
	binary.LittleEndian.PutUint16(head[16:], uint16(elf.ET_DYN))
	binary.LittleEndian.PutUint16(head[18:], uint16(machine))
	binary.LittleEndian.PutUint32(head[20:], uint32(elf.EV_CURRENT))
	return string(head)
}

func TestCheck(t *testing.T) {
	file := func(name, content string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tests := []struct{ name, path, want string }{
		{"a module", build(t, "good.so", module), ""},
		{"nothing", filepath.Join(t.TempDir(), "absent.so"), "absent.so is not there"},
		{"a relative path", "good.so", "good.so is not an absolute path"},
		{"a directory", t.TempDir(), "is not a file"},
		{"a text", file("text.so", "#!/bin/sh\n"), "text.so is not a library of this system (no ELF file)"},
		{"an empty file", file("empty.so", ""), "empty.so is not a library of this system"},
		{"32 bits", file("i386.so", foreign(elf.ELFCLASS32, elf.EM_386)), "is 32-bit x86 (i386), and this program is 64-bit"},
		{"32 bits of ARM", file("arm.so", foreign(elf.ELFCLASS32, elf.EM_ARM)), "is 32-bit ARM (armhf), and this program is 64-bit"},
		{"another machine", file("s390.so", foreign(elf.ELFCLASS64, elf.EM_S390)), "is EM_S390, and this program is 64-bit"},
		{"another library", build(t, "other.so", "int other(void) { return 0; }"), "other.so is not a PKCS#11 module: it has no C_GetFunctionList"},
		{"a library that uses one", build(t, "user.so", "int C_GetFunctionList(void); int f(void) { return C_GetFunctionList(); }"), "it has no C_GetFunctionList"},
	}
	for _, test := range tests {
		err := library.Check(test.path)
		if test.want == "" {
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
			continue
		}
		if cardbroker.ReasonOf(err) != cardbroker.Unavailable || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

func TestUnloadable(t *testing.T) {
	needed := build(t, "libneeded.so", "int needed(void) { return 0; }", "-Wl,-soname,libneeded.so")
	lacking := build(t, "lacking.so", module, "-Wl,--no-as-needed", needed)
	if err := library.Check(lacking); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		lacking:                          "it needs libneeded.so, which cannot be found",
		build(t, "good.so", module):      "ldd says what is missing",
		filepath.Join(t.TempDir(), "no"): "ldd says what is missing",
	} {
		if err := library.Unloadable(path); cardbroker.ReasonOf(err) != cardbroker.Unavailable || !strings.Contains(err.Error(), want) {
			t.Errorf("Unloadable(%s) = %v, want %q", path, err, want)
		}
	}
}
