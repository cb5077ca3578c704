// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package confine takes from the sandbox's process all that its source of cards does not need: files outside a short list
// (Landlock), the network, other programs and other processes (seccomp), and what [sandbox.Harden] names.
//
// It comes before any card library is loaded and before any source is made. It keeps nothing and cannot be undone. What
// the kernel does not offer is told, never passed over; see docs/adr/0006-confinement-by-plain-system-calls.md.
package confine

import (
	"log/slog"
	"path/filepath"
	"strings"
)

// Needs says what a source of cards reaches. All else is refused to it. What does not exist is passed over, and stays
// refused when it comes into being later, or anew: then only another start of the process helps.
type Needs struct {
	Read    []string // files, and directories with all below them
	Write   []string // directories whose files are read, made, replaced and removed, at any depth
	Sockets []string // directories of Unix sockets to connect to; none: there are no sockets at all
}

// State says what is in force.
type State struct {
	Landlock int  // the version of its interface that the kernel has, from 1; 0: none
	Seccomp  bool // the filter of system calls
}

// PCSC returns what the PC/SC library needs: the directory of the service's socket, which PCSCLITE_CSOCK_NAME names, or
// "" for the usual one. From version 9 of Landlock on, a service that comes back in a directory made anew is out of reach.
func PCSC(socket string) Needs {
	directory := "/run/pcscd"
	if socket != "" {
		directory = filepath.Dir(socket)
	}
	return Needs{Sockets: []string{directory}}
}

// SoftCard returns what the software card needs: the directory of its file, in which the file is replaced, or nothing if
// file is "".
func SoftCard(file string) Needs {
	if file == "" {
		return Needs{}
	}
	return Needs{Write: []string{filepath.Dir(file)}}
}

// Module returns what a PKCS#11 library needs: its own directory, where it finds the rest of itself, also where it is a symbolic link; what
// read and write list, joined by colons; and the directory of the PC/SC service's socket, or none if socket is "".
func Module(library, read, write, socket string) Needs {
	needs := Needs{
		Read:  append(filepath.SplitList(read), filepath.Dir(library)),
		Write: filepath.SplitList(write),
	}
	if file, err := filepath.EvalSymlinks(library); err == nil && filepath.Dir(file) != filepath.Dir(library) {
		needs.Read = append(needs.Read, filepath.Dir(file))
	}
	if socket != "" {
		needs.Sockets = PCSC(socket).Sockets
	}
	return needs
}

// Landlock's versions from which on it refuses something that counts here.
const (
	versionTruncate = 3
	versionTCP      = 4
	versionDevices  = 5
	versionScopes   = 6
	versionUnix     = 9
	versionUDP      = 10
)

// Missing says what this kernel does not refuse though it should, or "". It is silent on Unix sockets by path, below
// version 9: there file modes decide, as for every program of the user, for who needs any.
func (s State) Missing() string {
	var missing []string
	if s.Landlock == 0 {
		missing = append(missing, "files")
	} else if s.Landlock < versionTruncate {
		missing = append(missing, "truncation of files")
	}
	if s.Landlock < versionScopes {
		missing = append(missing, "signals", "abstract Unix sockets")
	}
	if !s.Seccomp {
		missing = append(missing, "system calls")
	}
	return strings.Join(missing, ", ")
}

// Log says in one line what is in force: a warning if something is missing.
func (s State) Log(log *slog.Logger) {
	if missing := s.Missing(); missing != "" {
		log.Warn("confined in part: this kernel does not refuse "+missing, "landlock", s.Landlock, "seccomp", s.Seccomp)
		return
	}
	log.Info("confined", "landlock", s.Landlock, "seccomp", s.Seccomp)
}
