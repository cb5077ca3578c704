// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package hostsession_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/hostsession"
	"github.com/cardbroker/cardbroker/internal/testenv"
)

// TestNearest puts a caller and the agents of his user into trees of processes, sessions and displays.
func TestNearest(t *testing.T) {
	place := hostsession.NewPlace
	for _, test := range []struct {
		name  string
		of    hostsession.Place
		among []hostsession.Place
		want  int // -1: nobody is to guess
	}{
		{"by session", place("7", "", false, 10), []hostsession.Place{place("3", "", false, 20), place("7", "", false, 30)}, 1},
		{"of a third session", place("7", ":1", false, 10, 1), []hostsession.Place{place("3", ":1", false, 20, 1), place("4", ":1", false, 30, 1)}, -1},
		{"two of one session", place("7", "", false, 10), []hostsession.Place{place("7", "", false, 20), place("7", "", false, 30)}, -1},
		{"session before process", place("7", "", false, 10, 5), []hostsession.Place{place("3", "", false, 20, 5), place("7", "", false, 30)}, 1},
		{"by process", place("", "", false, 10, 5, 2), []hostsession.Place{place("", "", false, 20, 5, 2), place("", "", false, 30, 2)}, 0},
		{"the agent's own child", place("", "", false, 10, 20, 2), []hostsession.Place{place("", "", false, 20, 2), place("", "", false, 30, 2)}, 0},
		{"equally near", place("", "", false, 10, 5), []hostsession.Place{place("", "", false, 20, 5), place("", "", false, 30, 5)}, -1},
		{"nothing in common", place("", "", false, 10), []hostsession.Place{place("", "", false, 20), place("", "", false, 30)}, -1},
		{"one was left behind", place("", "", false, 10, 5), []hostsession.Place{place("", "", false, 20, 5), place("", "", true)}, -1},
		{"one of which nothing is known", place("", "", false, 10, 5), []hostsession.Place{place("", "", false, 20, 5), hostsession.Unknown()}, -1},
		{"one left behind elsewhere", place("7", "", false, 10, 5), []hostsession.Place{place("", "", false, 20, 5), place("3", "", true)}, 0},
		{"by display", place("", ":2", false, 10), []hostsession.Place{place("", ":1", false, 20), place("", ":2", true)}, 1},
		{"two of one display", place("", ":2", false, 10), []hostsession.Place{place("", ":2", false, 20), place("", ":2", false, 30)}, -1},
		{"process before display", place("", ":1", false, 10, 5), []hostsession.Place{place("", ":1", false, 20), place("", ":2", false, 30, 5)}, 1},
		{"two of one session, by process", place("7", "", false, 10, 5, 2), []hostsession.Place{place("7", "", false, 20, 2), place("7", "", false, 30, 5, 2)}, 1},
		{"two of one session, by display", place("7", ":2", false, 10), []hostsession.Place{place("7", ":1", false, 20), place("7", ":2", true, 30)}, 1},
		{"two of one session, on a third display", place("7", ":3", false, 10), []hostsession.Place{place("7", ":1", false, 20), place("7", ":2", false, 30), place("", ":3", true)}, -1},
		{"two of one session and one display", place("7", ":1", false, 10), []hostsession.Place{place("7", ":1", false, 20), place("7", ":1", false, 30)}, -1},
		{"two of one session, one of a third with the display", place("7", ":2", false, 10), []hostsession.Place{place("7", ":1", false, 20), place("7", ":2", false, 30), place("3", ":2", false, 40)}, 1},
		{"equally near, by display", place("", ":2", false, 10, 5), []hostsession.Place{place("", ":1", false, 20, 5), place("", ":2", false, 30, 5), place("", ":2", false, 40)}, 1},
		{"no display", place("", "", false, 10), []hostsession.Place{place("", "", false, 20), place("", "", false, 30)}, -1},
		{"nobody", place("7", ":1", false, 10), nil, -1},
	} {
		got, ok := hostsession.Nearest(test.of, test.among)
		if !ok {
			got = -1
		}
		if got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}

// TestDisplays are those that environments name, of a process that shows its own.
func TestDisplays(t *testing.T) {
	for _, test := range []struct{ display, wayland, dir, want string }{
		{":7", "", "", ":7"},
		{":7.1", "wayland-0", "/run/user/1000", ":7"},
		{"localhost:10.0", "", "", "localhost:10"}, // ssh -X
		{"", "wayland-1", "/run/user/1000", "/run/user/1000/wayland-1"},
		{"", "/tmp/x/../wayland-1", "", "/tmp/wayland-1"},
		{"", "wayland-1", "", ""},
		{"", "wayland-1", "run", ""},
		{"far.example:0", "wayland-0", "/run/user/1000", ""},
		{"localhost", "", "", ""},
		{"", "", "/run/user/1000", ""},
	} {
		t.Run(test.display+test.wayland, func(t *testing.T) {
			socket, inode := socketOf(t, aliceUID)
			cmd := hold(t, aliceUID, socket, test.display, "WAYLAND_DISPLAY="+test.wayland, "XDG_RUNTIME_DIR="+test.dir)
			if got := displays(t, inode); len(got) != 1 || got[0] != test.want {
				t.Errorf("the display of process %d is %q, want %q", cmd.Process.Pid, got, test.want)
			}
			for name, value := range map[string]string{"DISPLAY": test.display, "WAYLAND_DISPLAY": test.wayland, "XDG_RUNTIME_DIR": test.dir} {
				t.Setenv(name, value)
			}
			if got := hostsession.OwnDisplay(); got != test.want {
				t.Errorf("OwnDisplay = %q, want %q", got, test.want)
			}
		})
	}
}

const (
	aliceUID = 65531
	bobUID   = 65532
)

// socketOf makes a connection of a user's to this process, and returns the client's end and its inode.
func socketOf(t testing.TB, uid uint32) (*os.File, uint32) {
	t.Helper()
	testenv.Root(t)
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	listener, err := lc.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	done := make(chan error)
	var file *os.File
	go func() {
		runtime.LockOSThread() // and unlocked only when the thread is ours again
		err := effective(uid)
		if err == nil {
			var conn net.Conn
			if conn, err = net.Dial("tcp4", listener.Addr().String()); err == nil {
				file, err = conn.(*net.TCPConn).File()
				conn.Close()
			}
			if effective(0) == nil {
				runtime.UnlockOSThread()
			}
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	return file, uint32(st.Ino)
}

// effective makes this thread, and no other, a user's.
func effective(uid uint32) error {
	if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0)); errno != 0 {
		return errno
	}
	return nil
}

// hold has a process of a user's hold the socket until the test ends; nil: it holds none.
func hold(t testing.TB, uid uint32, socket *os.File, display string, more ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/bin/sleep", "1000")
	cmd.Env = append(more, "DISPLAY="+display)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	if socket != nil {
		cmd.ExtraFiles = []*os.File{socket}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for range 10_000 { // Start returns in the middle of execve(2)
		if displayIn("/proc/"+strconv.Itoa(cmd.Process.Pid)) == display {
			return cmd
		}
		runtime.Gosched()
	}
	t.Fatalf("process %d shows no display", cmd.Process.Pid)
	return nil
}

// naiveDisplay is what most would write: whoever holds the inode, whosever he is, and what his environment says.
func naiveDisplay(inode uint32) string {
	folders, _ := filepath.Glob("/proc/[0-9]*")
	for _, folder := range folders {
		links, _ := filepath.Glob(folder + "/fd/*")
		for _, link := range links {
			if to, _ := os.Readlink(link); to == fmt.Sprintf("socket:[%d]", inode) && folder != "/proc/"+strconv.Itoa(os.Getpid()) {
				return displayIn(folder)
			}
		}
	}
	return ""
}

func displayIn(folder string) string {
	environ, _ := os.ReadFile(folder + "/environ")
	_, rest, _ := bytes.Cut(append([]byte{0}, environ...), []byte("\x00DISPLAY="))
	display, _, _ := bytes.Cut(rest, []byte{0})
	return string(display)
}

// displays is what we say: the displays of all who hold alice's socket.
func displays(t *testing.T, inode uint32) (all []string) {
	t.Helper()
	alice := cardbroker.UserID{UID: aliceUID}
	for _, h := range hostsession.Holders(map[uint32]cardbroker.UserID{inode: alice})[inode] {
		if place, ok := h.Place(alice); ok {
			all = append(all, place.Display)
		}
	}
	return all
}

// TestHolders runs attacks on the way from a socket to a session against a naive version, which they fool, and ours.
func TestHolders(t *testing.T) {
	t.Run("alice's own", func(t *testing.T) {
		socket, inode := socketOf(t, aliceUID)
		hold(t, aliceUID, socket, ":7.0")
		if got := displays(t, inode); len(got) != 1 || got[0] != ":7" {
			t.Errorf("the displays are %q, want :7", got)
		}
	})
	t.Run("her socket is handed to bob, in whose environment it says what he likes", func(t *testing.T) {
		socket, inode := socketOf(t, aliceUID)
		hold(t, bobUID, socket, ":66")
		if got := naiveDisplay(inode); got != ":66" {
			t.Errorf("the naive version says %q: the attack does not work", got)
		}
		_, his := socketOf(t, bobUID) // he asks at the same time: his processes are looked at, too
		asked := map[uint32]cardbroker.UserID{inode: {UID: aliceUID}, his: {UID: bobUID}}
		if got := hostsession.Holders(asked)[inode]; len(got) != 0 {
			t.Errorf("alice's socket is held by %v", got)
		}
		if got := displays(t, inode); got != nil {
			t.Errorf("the displays are %q, want none", got)
		}
	})
	t.Run("two of her sessions share a socket", func(t *testing.T) {
		socket, inode := socketOf(t, aliceUID)
		hold(t, aliceUID, socket, ":7")
		hold(t, aliceUID, socket, ":8")
		if got := naiveDisplay(inode); got == "" {
			t.Error("the naive version says nothing: the attack does not work")
		}
		if got := displays(t, inode); len(got) != 2 || got[0] == got[1] {
			t.Errorf("the displays are %q, want both: that does not tell", got)
		}
	})
	t.Run("her pid is used again", reusedPID)
	t.Run("another user asks for it", func(t *testing.T) {
		socket, inode := socketOf(t, aliceUID)
		hold(t, aliceUID, socket, ":7")
		if got := hostsession.Holders(map[uint32]cardbroker.UserID{inode: {UID: bobUID}}); len(got) != 0 {
			t.Errorf("alice's process holds bob's socket: %v", got)
		}
	})
	t.Run("she has more descriptors than a walk looks at", func(t *testing.T) {
		socket, inode := socketOf(t, aliceUID)
		hold(t, aliceUID, socket, ":7")
		many := make([]*os.File, 900)
		for i := range many {
			many[i] = socket
		}
		for range 1<<15/len(many) + 1 {
			cmd := hold(t, aliceUID, nil, ":8")
			cmd.Process.Kill()
			cmd.Wait()
			crowd := exec.Command("/bin/sleep", "1000")
			crowd.Env, crowd.ExtraFiles = []string{"DISPLAY=:8"}, many
			crowd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: aliceUID, Gid: aliceUID}}
			if err := crowd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { crowd.Process.Kill(); crowd.Wait() })
		}
		if got := displays(t, inode); got != nil {
			t.Errorf("%d holders are found, want none: half of them would be a guess", len(got))
		}
	})
}

// reusedPID has the process that was found end, and another of alice's get its pid, before anybody looks where it stands.
func reusedPID(t *testing.T) {
	socket, inode := socketOf(t, aliceUID)
	first := hold(t, aliceUID, socket, ":7")
	alice := cardbroker.UserID{UID: aliceUID}
	holders := hostsession.Holders(map[uint32]cardbroker.UserID{inode: alice})[inode]
	if len(holders) != 1 || holders[0].PID() != first.Process.Pid {
		t.Fatalf("the holders are %v", holders)
	}
	first.Process.Kill()
	first.Wait()
	const last = "/proc/sys/kernel/ns_last_pid" // pid_namespaces(7)
	var second *exec.Cmd
	for range 200 { // others start processes, too
		if err := os.WriteFile(last, []byte(strconv.Itoa(holders[0].PID()-1)), 0); err != nil {
			testenv.Skip(t, "cannot choose a pid: "+err.Error())
		}
		if second = hold(t, aliceUID, nil, ":8"); second.Process.Pid == holders[0].PID() {
			break
		}
		second.Process.Kill()
	}
	if second.Process.Pid != holders[0].PID() {
		t.Fatal("the pid does not come again")
	}
	if got := displayIn("/proc/" + strconv.Itoa(holders[0].PID())); got != ":8" {
		t.Errorf("who trusts the pid sees %q: the attack does not work", got)
	}
	if place, ok := holders[0].Place(alice); ok {
		t.Errorf("the next process with the pid is taken for the first: %+v", place)
	}
}

// TestOwnCgroups has a user name cgroups of his own, in the part of the tree that is his, as logind names sessions.
func TestOwnCgroups(t *testing.T) {
	const path = "user.slice/user-1001.slice/user@1001.service/app.slice/session-7.scope"
	if name := filepath.Base(path); !strings.HasPrefix(name, "session-") || !strings.HasSuffix(name, ".scope") {
		t.Error("the naive version, which looks at names alone, is not fooled")
	}
	if id, ok := hostsession.OfPath(path); ok {
		t.Errorf("a user's own cgroup is session %q", id)
	}
	dir := cgroup(t, path)
	pid, _ := start(t, "-", &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())})
	info, err := dir.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if id, ok := hostsession.OfCgroup(info.Sys().(*syscall.Stat_t).Ino); ok {
		t.Errorf("a socket that was made there is of session %q", id)
	}
	if id, ok := hostsession.OfProcess(pid); ok && id == "7" {
		t.Error("a process that is there is of session 7")
	}
}

// BenchmarkHolders walks through /proc beside so many processes of the user.
func BenchmarkHolders(b *testing.B) {
	for _, n := range []int{100, 1000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			socket, inode := socketOf(b, aliceUID)
			for range n - 1 {
				hold(b, aliceUID, nil, ":7")
			}
			hold(b, aliceUID, socket, ":7")
			for b.Loop() {
				if found := hostsession.Holders(map[uint32]cardbroker.UserID{inode: {UID: aliceUID}}); len(found) != 1 {
					b.Fatalf("found %v", found)
				}
			}
		})
	}
}
