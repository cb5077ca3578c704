// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package peer_test

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/peer"
	"github.com/cardbroker/cardbroker/internal/testenv"
)

// listenLocal listens on a path that every user can reach.
func listenLocal(t testing.TB, path string) *net.UnixListener {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	return l.(*net.UnixListener)
}

// dialLocal makes a connection at path and returns both ends.
func dialLocal(t testing.TB, path string) (client, accepted *net.UnixConn) {
	t.Helper()
	l := listenLocal(t, path)
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.UnixConn), acceptLocal(t, l)
}

func acceptLocal(t testing.TB, l *net.UnixListener) *net.UnixConn {
	t.Helper()
	conn, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// openDir returns a directory in which every user may make a socket.
func openDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "peer")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o1777); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestLocal(t *testing.T) {
	testenv.Root(t)
	path := openDir(t) + "/s"
	l := listenLocal(t, path)
	for _, test := range []struct {
		name string
		attr *syscall.SysProcAttr
		do   func(p *process)
		want string
	}{
		{"a user", nil, func(p *process) {}, "61001"},
		{"root, which becomes a user later", &syscall.SysProcAttr{Credential: &syscall.Credential{}},
			func(p *process) { p.do("setuid 61001") }, "0"},
		{"root of a user namespace", userNamespace(bob), func(p *process) {}, "61002"},
		{"a user of the overflow number", &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534}},
			func(p *process) {}, "peer_overflow_uid"},
		{"in another pid namespace below", &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}, func(p *process) {}, "61001"},
		{"a process that has ended", nil, (*process).end, "peer_no_process"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := start(t, alice, test.attr)
			p.do("dial c - %s", path)
			conn := acceptLocal(t, l)
			test.do(p)
			caller, err := peer.Local(conn)
			if got := verdict(caller, err); got != test.want {
				t.Errorf("Local = %s, want %s (%v)", got, test.want, err)
			}
			if err == nil && caller.PID != p.cmd.Process.Pid {
				t.Errorf("Local = pid %d, want %d", caller.PID, p.cmd.Process.Pid)
			}
			want := test.want
			if want == "peer_no_process" {
				want = "61001" // whose user it was all the same
			}
			user, err := peer.LocalUser(conn)
			if got := verdict(peer.Caller{User: user}, err); got != want {
				t.Errorf("LocalUser = %s, want %s (%v)", got, want, err)
			}
		})
	}
}

// TestLocalFromNamespace serves from inside other namespaces: who is outside is refused.
func TestLocalFromNamespace(t *testing.T) {
	for _, test := range []struct {
		name string
		attr *syscall.SysProcAttr
		want string
	}{
		{"the same", nil, peer.Self().String()},
		{"a user namespace without the caller", userNamespace(bob), "peer_overflow_uid"},
		{"another pid namespace", &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}, "peer_no_process"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := openDir(t) + "/s"
			p := start(t, bob, test.attr)
			p.do("listen l %s", path)
			conn, err := net.Dial("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			p.do("accept l c")
			if got := p.do("local c"); got != test.want {
				t.Errorf("Local = %s, want %s", got, test.want)
			}
		})
	}
}

func TestLocalClosed(t *testing.T) {
	client, accepted := dialLocal(t, t.TempDir()+"/s")
	accepted.Close()
	if _, err := peer.Local(accepted); cardbroker.RuleOf(err) != cardbroker.RuleSocketGone {
		t.Errorf("Local = %v, want socket_gone", err)
	}
	client.Close()
	if _, err := peer.CheckServer(client); cardbroker.RuleOf(err) != cardbroker.RuleSocketGone {
		t.Errorf("CheckServer = %v, want socket_gone", err)
	}
}

func TestCheckServer(t *testing.T) {
	path := openDir(t) + "/s"
	owner := start(t, bob, nil)
	owner.do("listen l %s", path)
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	dialled := conn.(*net.UnixConn)
	for _, test := range []struct {
		name    string
		allowed []cardbroker.UserID
		want    string
	}{
		{"root only", nil, "socket_foreign"},
		{"another user", []cardbroker.UserID{alice}, "socket_foreign"},
		{"the user", []cardbroker.UserID{alice, bob}, "61002"},
	} {
		server, err := peer.CheckServer(dialled, test.allowed...)
		if got := verdict(server, err); got != test.want {
			t.Errorf("%s: CheckServer = %s, want %s", test.name, got, test.want)
		}
		if err == nil && server.PID != owner.cmd.Process.Pid {
			t.Errorf("%s: CheckServer = pid %d, want %d", test.name, server.PID, owner.cmd.Process.Pid)
		}
	}

	ours, _ := dialLocal(t, path+"2")
	if server, err := peer.CheckServer(ours, alice); err != nil || server.User != peer.Self() {
		t.Errorf("CheckServer of root = %+v, %v, want root", server, err)
	}
	asked := start(t, alice, nil)
	asked.do("dial c - %s", path+"2")
	if got := asked.do("server c 61001"); got != "0" {
		t.Errorf("CheckServer by a user = %s, want 0", got)
	}
	owner.end() // the connection still tells who served it
	if server, err := peer.CheckServer(dialled, bob); err != nil || server.User != bob {
		t.Errorf("CheckServer after the end = %+v, %v, want bob", server, err)
	}
}

// TestCheckPath builds, in a directory of root, what each step says: "d NAME UID MODE" makes a directory, "s NAME UID" a
// file in place of the socket, "l NAME UID TARGET" a link.
func TestCheckPath(t *testing.T) {
	testenv.Root(t)
	const foreign = "socket_foreign"
	for _, test := range []struct {
		name, build, path, want string
	}{
		{"root's", "d a 0 755; s a/s 0", "a/s", ""},
		{"of the allowed user", "d a 61001 700; s a/s 61001", "a/s", ""},
		{"a directory of another user", "d a 61002 755; s a/s 0", "a/s", foreign},
		{"further up", "d a 61002 755; d a/b 0 755; s a/b/s 0", "a/b/s", foreign},
		{"the socket of another user", "d a 0 755; s a/s 61002", "a/s", foreign},
		{"writable by the group", "d a 0 775; s a/s 0", "a/s", foreign},
		{"writable by all", "d a 0 757; s a/s 0", "a/s", foreign},
		{"sticky", "d a 0 1777; s a/s 61001", "a/s", ""},
		{"sticky, another user's socket", "d a 0 1777; s a/s 61002", "a/s", foreign},
		{"sticky, another user's directory", "d a 0 1777; d a/b 61002 755; s a/b/s 0", "a/b/s", foreign},
		{"sticky, but of another user", "d a 61002 1777; s a/s 0", "a/s", foreign},
		{"a link", "d a 0 755; s a/s 0; l b 0 a", "b/s", ""},
		{"a link as the socket", "d a 0 755; s a/s 0; l a/t 0 s", "a/t", ""},
		{"a link to a bad place", "d a 61002 755; s a/s 0; l b 0 a", "b/s", foreign},
		{"a link in a bad place", "d a 0 755; s a/s 0; d b 0 777; l b/c 0 ../a", "b/c/s", foreign},
		{"another user's link in a sticky place", "d a 0 755; s a/s 0; d b 0 1777; l b/c 61002 ../a", "b/c/s", foreign},
		{"through .. of a link", "d a 0 755; d a/b 0 755; s a/s 0; l c 0 a/b", "c/../s", ""},
		{"through .. of a link, not of its name", "d a 0 755; d a/b 0 755; s s 0; l c 0 a/b", "c/../s", "unavailable"},
		{"an absolute link", "d a 0 755; s a/s 0; l b 0 /TOP/a", "b/s", ""},
		{"links in a circle", "l a 0 b; l b 0 a", "a/s", "unavailable"},
		{"no socket", "d a 0 755", "a/s", "unavailable"},
		{"doubled and single dots", "d a 0 755; s a/s 0", ".//a/./s", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			top := t.TempDir()
			build(t, top, test.build)
			got := outcome(peer.CheckPath(top+"/"+test.path, alice))
			if got != test.want {
				t.Errorf("CheckPath(%q) = %q, want %q", test.path, got, test.want)
			}
			t.Chdir(top)
			if relative := outcome(peer.CheckPath(test.path, alice)); relative != got {
				t.Errorf("CheckPath(%q), relative = %q, want %q", test.path, relative, got)
			}
		})
	}
	for _, path := range []string{"", "@name", "\x00name"} {
		if got := outcome(peer.CheckPath(path)); got != "invalid" {
			t.Errorf("CheckPath(%q) = %q, want invalid", path, got)
		}
	}
}

// outcome is the rule that refused, else the reason, "" for nil.
func outcome(err error) string {
	if rule := cardbroker.RuleOf(err); rule != "" {
		return string(rule)
	}
	return string(cardbroker.ReasonOf(err))
}

func build(t *testing.T, top, steps string) {
	t.Helper()
	for step := range strings.SplitSeq(steps, "; ") {
		f := strings.Fields(step)
		name := filepath.Join(top, f[1])
		var err error
		switch f[0] {
		case "d":
			err = os.Mkdir(name, 0)
		case "s":
			err = os.WriteFile(name, nil, 0o666)
		case "l":
			err = os.Symlink(strings.ReplaceAll(f[3], "/TOP", top), name)
		}
		if err != nil {
			t.Fatal(err)
		}
		uid, _ := strconv.Atoi(f[2])
		if err := os.Lchown(name, uid, uid); err != nil {
			t.Fatal(err)
		}
		if f[0] == "d" {
			mode, _ := strconv.ParseUint(f[3], 8, 32)
			if err := syscall.Chmod(name, uint32(mode)); err != nil {
				t.Fatal(err)
			}
		}
	}
}
