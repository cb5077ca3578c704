// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package confine_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cardbroker/cardbroker/internal/testenv"
)

// TestMain makes the test program the intruder, too: the one of the environment's, built without the race detector, which
// does not start under Landlock.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "intrude":
			os.Exit(intrude(os.Args[2]))
		case "wait":
			os.Stdin.Read(make([]byte, 1))
			os.Exit(0)
		case "executed":
			fmt.Fprintln(os.Stdout, "executed")
			os.Exit(0)
		}
	}
	os.Exit(m.Run())
}

// theater is where intruders are watched.
type theater struct {
	t       *testing.T
	program string
	dir     string
	as      *syscall.Credential // nil: ourselves
}

// newTheater builds the intruder, with cgo or without.
func newTheater(t *testing.T, cgo bool) *theater {
	t.Helper()
	dir, err := os.MkdirTemp("", "c") // short, as what is below: there are sockets, and TMPDIR may be long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { // other users play, too
		t.Fatal(err)
	}
	th := &theater{t: t, program: filepath.Join(dir, "intruder"), dir: dir}
	build := exec.Command("go", "test", "-c", "-o", th.program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if cgo {
		testenv.Tool(t, "gcc")
		build.Env = append(os.Environ(), "CGO_ENABLED=1")
	}
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go test -c = %v: %s", err, out)
	}
	if err := os.Chmod(th.program, 0o755); err != nil { // whatever the umask
		t.Fatal(err)
	}
	return th
}

// set makes a new scene.
func (th *theater) set() scene {
	th.t.Helper()
	dir, err := os.MkdirTemp(th.dir, "")
	if err != nil {
		th.t.Fatal(err)
	}
	s := scene{
		Inside:  filepath.Join(dir, "inside"),
		Outside: filepath.Join(dir, "outside"),
		Sockets: filepath.Join(dir, "sockets"),
		Victim:  os.Getpid(),
	}
	s.Abstract = "@" + dir
	os.Chmod(dir, 0o755)
	for _, at := range []string{s.Inside, s.Outside, s.Sockets} {
		if err := os.Mkdir(at, 0o700); err != nil {
			th.t.Fatal(err)
		}
		os.Chmod(at, 0o777)
	}
	file := filepath.Join(s.Outside, "file")
	if err := os.WriteFile(file, []byte("a secret"), 0o600); err != nil {
		th.t.Fatal(err)
	}
	os.Chmod(file, 0o666)
	for name, mode := range map[string]os.FileMode{
		filepath.Join(s.Outside, "open.sock"): 0o666,
		filepath.Join(s.Outside, "shut.sock"): 0o600,
		filepath.Join(s.Sockets, "s.sock"):    0o666,
	} {
		th.listen("unix", name)
		os.Chmod(name, mode)
	}
	th.listen("unix", s.Abstract)
	s.TCP = th.listen("tcp", "127.0.0.1:0")
	if th.as != nil {
		s.Victim = th.victim()
	}
	return s
}

func (th *theater) listen(network, address string) string {
	th.t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(context.Background(), network, address)
	if err != nil {
		th.t.Fatal(err)
	}
	th.t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// victim starts a process of the intruder's user that waits for the end of the test, and returns its number.
func (th *theater) victim() int {
	th.t.Helper()
	cmd := exec.Command(th.program, "wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: th.as}
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		th.t.Fatal(err)
	}
	th.t.Cleanup(func() {
		stdin.Close()
		cmd.Wait()
	})
	return cmd.Process.Pid
}

// play runs the intruder and returns what came of his attempts.
func (th *theater) play(s scene, confined bool) map[string]string {
	th.t.Helper()
	s.Confined = confined
	out, stderr, err := th.run(s, nil)
	if err != nil {
		th.t.Fatalf("the intruder ends with %v: %s", err, stderr)
	}
	text, last, _ := strings.Cut(strings.TrimPrefix(out, "executed\n"), "\n") // the word of his fork comes first
	results := make(map[string]string)
	if err := json.Unmarshal([]byte(text), &results); err != nil {
		th.t.Fatalf("the intruder says %q: %v", out, err)
	}
	results["exec"] = strings.TrimSpace(last)
	return results
}

func (th *theater) run(s scene, env []string) (stdout, stderr string, err error) {
	text, err := json.Marshal(s)
	if err != nil {
		th.t.Fatal(err)
	}
	var out, complaints bytes.Buffer
	cmd := exec.Command(th.program, "intrude", string(text))
	cmd.Env = append([]string{"KEPT=1"}, env...)
	cmd.Dir = th.dir
	cmd.Stdout, cmd.Stderr = &out, &complaints
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: th.as}
	err = cmd.Run()
	return out.String(), complaints.String(), err
}

// rows are what comes of each attempt: of a free process, and of a confined one. own says that it is of our own user.
func rows(version int, own bool) map[string][2]string {
	at := func(first int, before string, from string) string { // by version
		if version < first {
			return before
		}
		return from
	}
	all := map[string][2]string{
		"read outside":           {"done", at(1, "done", "EACCES")},
		"read status":            {"done", at(1, "done", "EACCES")},
		"list outside":           {"done", at(1, "done", "EACCES")},
		"write outside":          {"done", at(1, "done", "EACCES")},
		"truncate outside":       {"done", at(3, "done", "EACCES")},
		"write inside":           {"done", "done"},
		"move out":               {"done", at(1, "done", "EACCES")},
		"link inside":            {"done", at(1, "done", "EACCES")},
		"exec":                   {"executed", "EPERM"},
		"fork":                   {"done", "EPERM"},
		"TCP client":             {"done", "EAFNOSUPPORT"},
		"TCP server":             {"done", "EAFNOSUPPORT"},
		"TCP server, multipath":  {"done", "EAFNOSUPPORT"},
		"UDP":                    {"done", "EAFNOSUPPORT"},
		"netlink":                {"done", "EAFNOSUPPORT"},
		"Unix socket":            {"done", at(9, "done", "EACCES")}, // before, as every program of the user
		"Unix socket, shut":      {"EACCES", "EACCES"},
		"Unix socket, needed":    {"done", "done"},
		"abstract Unix socket":   {"done", at(6, "done", "EPERM")},
		"signal":                 {"done", at(6, "done", "EPERM")},
		"trace":                  {"ESRCH", "EPERM"},
		"clone3":                 {"EINVAL", "ENOSYS"},
		"namespace":              {"EINVAL", "EPERM"},
		"undumpable":             {"dumpable", "done"},
		"files, sizes and cores": {"", "256 16777216 0"}, // a free one has what the test has
		"thread":                 {"done done", at(1, "done", "EACCES") + " EAFNOSUPPORT"},
		"environment":            {"KEPT=1", "KEPT=1"},
		"state":                  {"", fmt.Sprint(version, " true")},
	}
	if own {
		all["Unix socket, shut"] = all["Unix socket"]
	}
	if own && os.Geteuid() == 0 {
		all["read /etc/shadow"] = all["read outside"]
		all["list /root"] = all["list outside"]
	}
	return all
}

// TestIntruder has an intruder try all that a source of cards must not do: free, so that it is seen to work, and confined.
func TestIntruder(t *testing.T) {
	for name, cgo := range map[string]bool{"static": false, "cgo": true} {
		t.Run(name, func(t *testing.T) {
			th := newTheater(t, cgo)
			t.Run("own user", func(t *testing.T) { (&theater{t, th.program, th.dir, nil}).check(true) })
			t.Run("another user", func(t *testing.T) {
				testenv.Root(t)
				(&theater{t, th.program, th.dir, &syscall.Credential{Uid: 65534, Gid: 65534}}).check(false)
			})
		})
	}
}

// TestOlderKernel has the kernel seem to lack Landlock: the rest is in force, and said to be all. What is no lack, and a
// lack of the filter, is the end.
func TestOlderKernel(t *testing.T) {
	th := newTheater(t, false)
	for _, errno := range []syscall.Errno{syscall.ENOSYS, syscall.EOPNOTSUPP} {
		s := th.set()
		s.Lacks = []lack{{unix.SYS_LANDLOCK_CREATE_RULESET, uint32(errno)}}
		got := th.play(s, true)
		for row, want := range rows(0, true) {
			if got[row] != want[1] {
				t.Errorf("without Landlock (%v), %s: %q, want %q", errno, row, got[row], want[1])
			}
		}
	}
	tests := map[string]struct {
		lack lack
		want string
	}{
		"Landlock is denied":    {lack{unix.SYS_LANDLOCK_CREATE_RULESET, uint32(syscall.EPERM)}, "cannot ask for the version of Landlock"},
		"a rule is denied":      {lack{unix.SYS_LANDLOCK_ADD_RULE, uint32(syscall.EPERM)}, "cannot allow "},
		"Landlock fails":        {lack{unix.SYS_LANDLOCK_RESTRICT_SELF, uint32(syscall.E2BIG)}, "cannot confine to files"},
		"Landlock does nothing": {lack{unix.SYS_LANDLOCK_RESTRICT_SELF, 0}, "the confinement of files does not hold"},
		"no filter":             {lack{unix.SYS_SECCOMP, uint32(syscall.EINVAL)}, "this kernel does not filter system calls"},
		"no exec":               {lack{unix.SYS_EXECVE, uint32(syscall.EPERM)}, "cannot start the confined program"},
	}
	for name, test := range tests {
		s := th.set()
		s.Confined, s.Lacks = true, []lack{test.lack}
		if test.lack.Number == unix.SYS_SECCOMP {
			s.Lacks = append(s.Lacks, lack{unix.SYS_LANDLOCK_CREATE_RULESET, uint32(syscall.ENOSYS)}) // else it ages twice
		}
		if out, complaint, err := th.run(s, nil); err == nil || out != "" || !strings.Contains(complaint, test.want) {
			t.Errorf("%s: %v, %q, %q, want the end, and %q", name, err, out, complaint, test.want)
		}
	}
}

// check compares the rows with what happens.
func (th *theater) check(own bool) {
	t := th.t
	confined := th.play(th.set(), true)
	free := th.play(th.set(), false)
	version := 0
	fmt.Sscan(confined["state"], &version)
	want := rows(version, own)
	for _, row := range slices.Sorted(maps.Keys(want)) {
		if got := free[row]; got != want[row][0] && want[row][0] != "" {
			t.Errorf("%s: a free intruder gets %q, want %q", row, got, want[row][0])
		}
		if got := confined[row]; got != want[row][1] {
			t.Errorf("%s: a confined intruder gets %q, want %q", row, got, want[row][1])
		}
	}
	t.Logf("Landlock %d", version)
}

// TestNoSockets: who needs no socket has none.
func TestNoSockets(t *testing.T) {
	th := newTheater(t, false)
	s := th.set()
	s.Sockets = ""
	got := th.play(s, true)
	for _, row := range []string{"Unix socket", "Unix socket, shut", "abstract Unix socket", "TCP client", "UDP"} {
		if got[row] != "EAFNOSUPPORT" {
			t.Errorf("%s: %q, want EAFNOSUPPORT", row, got[row])
		}
	}
}

// The word of the environment that this is the second pass frees nobody.
func TestForgedMarker(t *testing.T) {
	th := newTheater(t, false)
	s := th.set()
	if version := th.play(s, true)["state"]; strings.HasPrefix(version, "0 ") {
		testenv.Skip(t, "needs a kernel with Landlock")
	}
	s.Confined = true
	for _, value := range []string{"1", "", "7"} {
		out, complaint, err := th.run(s, []string{"CARDSANDBOX_CONFINED=" + value})
		if want := "the confinement of files does not hold"; err == nil || out != "" || !strings.Contains(complaint, want) {
			t.Errorf("with the marker %q: %v, %q, %q, want the end, and %q", value, err, out, complaint, want)
		}
	}
}

// A directory that is all files is no confinement.
func TestRootDirectoryIsRefused(t *testing.T) {
	th := newTheater(t, false)
	s := th.set()
	s.Confined = true
	for _, set := range []func(path string){func(p string) { s.Inside = p }, func(p string) { s.Sockets = p }} {
		before := s
		set("/../")
		out, complaint, err := th.run(s, nil)
		if want := "cannot allow /../: invalid: that is all files"; err == nil || out != "" || !strings.Contains(complaint, want) {
			t.Errorf("the root directory: %v, %q, %q, want the end, and %q", err, out, complaint, want)
		}
		s = before
	}
}

// What the loader is told to load from elsewhere is out of reach: the pass that counts begins confined.
func TestPreload(t *testing.T) {
	th := newTheater(t, true)
	s := th.set()
	library := filepath.Join(s.Outside, "preload.so")
	source := filepath.Join(s.Outside, "preload.c")
	code := "#include <stdio.h>\n__attribute__((constructor)) static void hello(void) { fputs(\"preloaded\\n\", stderr); }\n"
	if err := os.WriteFile(source, []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("gcc", "-shared", "-fPIC", "-o", library, source).CombinedOutput(); err != nil {
		t.Fatalf("gcc = %v: %s", err, out)
	}
	for confined, want := range map[bool]int{false: 1, true: 1} { // true: in the first pass alone
		s.Confined = confined
		_, complaints, err := th.run(s, []string{"LD_PRELOAD=" + library})
		if got := strings.Count(complaints, "preloaded\n"); err != nil || got != want {
			t.Errorf("confined %v: preloaded %d times, %v, want %d: %s", confined, got, err, want, complaints)
		}
		if got := strings.Contains(complaints, "cannot be preloaded"); got != confined {
			t.Errorf("confined %v: %q, want the loader's complaint %v", confined, complaints, confined)
		}
	}
}
