// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package browser

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// programs names the directory of the programs under test. That it is set says that we are in the namespaces.
const programs = "CARDBROKER_TEST_PROGRAMS"

// Addresses of the namespace.
const (
	public   = "198.51.100.10"
	intranet = "10.1.1.10"
)

// policies is where Debian's Chromium looks for machine policy.
const policies = "/etc/chromium/policies/managed"

// TestMain builds the programs and runs the tests in namespaces. Without root the tests are skipped.
func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	if os.Getenv(programs) != "" {
		if err := furnish(); err != nil {
			fmt.Fprintln(os.Stderr, "cannot furnish the namespaces:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	os.Exit(enter())
}

// enter runs this program again, in namespaces, and returns its exit status.
func enter() int {
	dir, err := os.MkdirTemp("", "cardbroker-programs-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(filepath.Join(dir, "t1csdk"), 0o755)); err != nil {
		panic(err)
	}
	build := exec.Command("go", "build", "-trimpath", "-o", dir, "../../cmd/cardbroker", "../../cmd/cardsandbox")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("cannot build the programs: %s", out))
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), programs+"="+dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err = cmd.Run()
	if ended, ok := errors.AsType[*exec.ExitError](err); ok {
		return ended.ExitCode()
	}
	if err != nil {
		panic(err)
	}
	return 0
}

// furnish gives the namespaces their addresses, and a directory for the browser's policies.
func furnish() error {
	for _, args := range [][]string{
		{"link", "set", "lo", "up"}, {"address", "add", public, "dev", "lo"}, {"address", "add", intranet, "dev", "lo"},
	} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %v: %s", args, out)
		}
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := share(); err != nil {
		return fmt.Errorf("cannot share test/t1csdk: %w", err)
	}
	above := filepath.Dir(filepath.Dir(policies))
	if _, err := os.Stat(above); err != nil {
		return nil // there is no browser, and each test says so
	}
	if err := syscall.Mount("policies", above, "tmpfs", 0, "mode=0755"); err != nil {
		return err
	}
	return os.MkdirAll(policies, 0o755)
}

// share shows every user the npm packages of the tests, which the way to our own folder may be closed to.
func share() error {
	const source = "../t1csdk"
	target := filepath.Join(os.Getenv(programs), "t1csdk")
	err := syscall.Mount(source, target, "", syscall.MS_BIND, "")
	if err == nil {
		err = syscall.Mount("", target, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, "")
	}
	return err
}
