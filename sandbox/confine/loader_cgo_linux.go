// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package confine

// libraries are where the loader finds what a program is linked with, and what a module is linked with that is loaded
// later.
func libraries() []string {
	return []string{"/usr/lib", "/lib", "/lib64", "/usr/lib64", "/etc/ld.so.cache"}
}

// interpreters are the loaders, which the kernel starts with a program that is not static: of glibc and of musl.
func interpreters() []string {
	return []string{
		"/lib64/ld-linux-x86-64.so.2", "/lib/ld-musl-x86_64.so.1",
		"/lib/ld-linux-aarch64.so.1", "/lib/ld-musl-aarch64.so.1",
	}
}
