// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package hostsession_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/hostsession"
	"github.com/cardbroker/cardbroker/internal/testenv"
)

// TestMain runs the tests, or a process that says which session it is in and then waits for the end of its input.
func TestMain(m *testing.M) {
	if os.Getenv("CARDBROKER_TEST_WATCH") != "" {
		watchOwn()
		return
	}
	login := os.Getenv("CARDBROKER_TEST_LOGIN")
	if login == "" {
		os.Exit(m.Run())
	}
	if login != "-" { // what pam_loginuid does
		if err := os.WriteFile("/proc/self/loginuid", []byte(login), 0); err != nil {
			fmt.Println("cannot log in:", err)
			return
		}
	}
	fmt.Println(hostsession.Own().ID)
	io.Copy(io.Discard, os.Stdin)
}

// watchOwn says which session this process is in, whose child it is, and what happens to the session.
func watchOwn() {
	own := hostsession.Own()
	fmt.Println(own.ID, own.Kind, os.Getppid())
	err := own.Watch(context.Background(), func(e hostsession.Event) { fmt.Println(e) })
	fmt.Println(cardbroker.ReasonOf(err))
}

// start starts a process in a cgroup, or where this one is, and returns its pid and what it says of itself.
func start(t *testing.T, login string, attr *syscall.SysProcAttr) (pid int, own string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "CARDBROKER_TEST_LOGIN="+login, "GORACE=atexit_sleep_ms=0")
	cmd.SysProcAttr = attr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid, strings.TrimSpace(line)
}

// cgroup makes a cgroup below one of the test's own and returns its directory.
func cgroup(t *testing.T, path string) *os.File {
	t.Helper()
	testenv.Root(t)
	root, ok := hostsession.CgroupMount()
	if !ok {
		testenv.Skip(t, "needs cgroup v2")
	}
	top, err := os.MkdirTemp(root, "cardbroker-test-")
	if err != nil {
		testenv.Skip(t, "needs a writable cgroup v2: "+err.Error())
	}
	t.Cleanup(func() { // innermost first; cgroupfs has no other way
		for dir := filepath.Join(top, path); strings.HasPrefix(dir, top); dir = filepath.Dir(dir) {
			if err := os.Remove(dir); err != nil {
				t.Error(err)
			}
		}
	})
	if err := os.MkdirAll(filepath.Join(top, path), 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(filepath.Join(top, path))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return dir
}

// TestCgroups puts real processes into real cgroups.
func TestCgroups(t *testing.T) {
	for _, test := range []struct {
		path string
		want string // "" for none
	}{
		{"user.slice/user-1001.slice/session-7.scope", "7"},
		{"user.slice/user-1001.slice/session-c12.scope", "c12"},
		{"user.slice/user-1001.slice/session-7.scope/below", "7"},
		{"user.slice/user-1001.slice/user@1001.service/app.slice", ""},
		{"user.slice/user-1001.slice/session-7.service", ""},
		{"user.slice/user-1001.slice/session-.scope", ""},
		{"user.slice/user-1001.slice/session-a b.scope", ""},
	} {
		t.Run(test.path, func(t *testing.T) {
			dir := cgroup(t, test.path)
			pid, own := start(t, "-", &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())})
			want, wantOwn := cardbroker.SessionID(test.want), test.want
			if want == "" {
				want, _ = hostsession.OfProcess(os.Getpid()) // the audit session, if the tests run in one
				wantOwn = string(hostsession.Own().ID)
			}
			if own != wantOwn {
				t.Errorf("Own = %q, want %q", own, wantOwn)
			}
			if got, ok := hostsession.OfProcess(pid); got != want || ok != (want != "") {
				t.Errorf("OfProcess = %q, %v, want %q", got, ok, want)
			}
			info, err := dir.Stat()
			if err != nil {
				t.Fatal(err)
			}
			got, ok := hostsession.OfCgroup(info.Sys().(*syscall.Stat_t).Ino)
			if string(got) != test.want || ok != (test.want != "") {
				t.Errorf("OfCgroup = %q, %v, want %q", got, ok, test.want)
			}
		})
	}
}

func TestAuditSession(t *testing.T) {
	testenv.Root(t)
	pid, own := start(t, "61001", nil)
	if strings.HasPrefix(own, "cannot log in") {
		testenv.Skip(t, "needs audit sessions: "+own)
	}
	want, err := os.ReadFile(fmt.Sprintf("/proc/%d/sessionid", pid))
	if err != nil {
		t.Fatal(err)
	}
	if own != string(want) {
		t.Errorf("Own = %q, want %q", own, want)
	}
	if got, ok := hostsession.OfProcess(pid); string(got) != own || !ok {
		t.Errorf("OfProcess = %q, %v, want %q", got, ok, own)
	}
}

func TestNoSession(t *testing.T) {
	if got := hostsession.Own().ID; got == "" {
		t.Error("Own is empty")
	} else if _, err := cardbroker.ParseSessionID(string(got)); err != nil {
		t.Errorf("Own = %q: %v", got, err)
	}
	audit, _ := os.ReadFile("/proc/self/sessionid")
	cgroups, _ := os.ReadFile("/proc/self/cgroup")
	if string(audit) == "4294967295" && !strings.Contains(string(cgroups), "/session-") {
		want := "uid:" + strconv.Itoa(os.Geteuid())
		if got := hostsession.Own().ID; string(got) != want {
			t.Errorf("Own = %q, want %q", got, want)
		}
		if got, ok := hostsession.OfProcess(os.Getpid()); ok {
			t.Errorf("OfProcess = %q, want none", got)
		}
	}
	child := exec.Command("true")
	if err := child.Run(); err != nil {
		t.Fatal(err)
	}
	if got, ok := hostsession.OfProcess(child.Process.Pid); ok {
		t.Errorf("OfProcess of a process that has ended = %q", got)
	}
	for _, id := range []uint64{0, 1, 1 << 63} {
		if got, ok := hostsession.OfCgroup(id); ok {
			t.Errorf("OfCgroup(%d) = %q", id, got)
		}
	}
}

func BenchmarkOfCgroup(b *testing.B) {
	for b.Loop() {
		hostsession.OfCgroup(1 << 63) // none: the whole walk
	}
}
