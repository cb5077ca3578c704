// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
)

// storeFile is the registry's file in the broker's state directory.
const storeFile = "registry.db"

// defaultSocket is the local socket of the broker, or of one that was given a name of its own.
func defaultSocket(instance string) string {
	return "/run/" + named("cardbroker", instance) + "/broker.sock"
}

// defaultHostState is the broker's state directory.
func defaultHostState(instance string) string { return "/var/lib/" + named("cardbroker", instance) }

// defaultPCSC is the socket of the system's PC/SC service, as Debian builds pcsc-lite.
const defaultPCSC = "/run/pcscd/pcscd.comm"

func named(name, instance string) string {
	if instance != "" {
		return name + "-" + instance
	}
	return name
}

// defaultAgentState is where the agent of this user keeps its state.
func defaultAgentState() string {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "cardbroker")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".local", "state", "cardbroker")
}
