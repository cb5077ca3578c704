// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcscd_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/virtualreader/pcscd"
)

// directory returns a new directory with a short path, so that it has room for a long name.
func directory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "p")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func listen(t *testing.T, path string) *net.UnixListener {
	t.Helper()
	listener, err := pcscd.Listen(path)
	if err != nil {
		t.Fatalf("Listen(%q) = %v", path, err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener
}

func wantRefused(t *testing.T, path string, reason cardbroker.Reason) {
	t.Helper()
	listener, err := pcscd.Listen(path)
	if err == nil {
		listener.Close()
	}
	if got := cardbroker.ReasonOf(err); got != reason {
		t.Errorf("Listen(%q) = %v, want %s", path, err, reason)
	}
}

func TestListen(t *testing.T) {
	dir := directory(t)
	path := filepath.Join(dir, "s")
	listener := listen(t, path)
	info, err := os.Stat(path)
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("the socket has the mode %v, %v, want 0600", info.Mode(), err)
	}
	wantRefused(t, path, cardbroker.Conflict) // another server lives
	listener.Close()
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket is there after its listener was closed")
	}
	listen(t, filepath.Join(dir, strings.Repeat("n", 107-len(dir)-1)))
	wantRefused(t, filepath.Join(dir, strings.Repeat("n", 108-len(dir)-1)), cardbroker.Invalid)
	wantRefused(t, "", cardbroker.Invalid)
	wantRefused(t, filepath.Join(dir, "no such", "s"), cardbroker.Unavailable)
}

// TestListenAfterDeath: the socket of a server that was killed is replaced; what is no socket stays.
func TestListenAfterDeath(t *testing.T) {
	path := filepath.Join(directory(t), "s")
	dead := listen(t, path)
	dead.SetUnlinkOnClose(false)
	dead.Close()
	listen(t, path)
	file := filepath.Join(directory(t), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, file, cardbroker.Conflict)
	link := filepath.Join(filepath.Dir(file), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, link, cardbroker.Conflict)
	if content, err := os.ReadFile(file); err != nil || string(content) != "precious" {
		t.Errorf("the file has become %q, %v", content, err)
	}
}

// TestListenWhereOthersWrite: others could put a socket of theirs in our place, at the latest when we are away.
func TestListenWhereOthersWrite(t *testing.T) {
	for _, mode := range []os.FileMode{0o777, 0o770, 0o702, 0o777 | os.ModeSticky} {
		dir := directory(t)
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		wantRefused(t, filepath.Join(dir, "s"), cardbroker.CallerRefused)
	}
}

// TestListenTogether: while one server looks and makes its socket, another does not.
func TestListenTogether(t *testing.T) {
	dir := directory(t)
	held, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := unix.Flock(int(held.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, filepath.Join(dir, "s"), cardbroker.Conflict)
	unix.Flock(int(held.Fd()), unix.LOCK_UN)
	listen(t, filepath.Join(dir, "s"))
}

// TestOtherUser: a user who gets at the socket all the same is not served.
func TestOtherUser(t *testing.T) {
	testenv.Root(t)
	socket := serve(t, pcscd.Config{Source: newFake(t, with("r")), Log: slog.New(slog.DiscardHandler)})
	if err := errors.Join(os.Chmod(filepath.Dir(socket), 0o711), os.Chmod(socket, 0o666)); err != nil {
		t.Fatal(err)
	}
	for uid, want := range map[uint32]string{0: "0    Yes             r\n", 12345: "No smart card readers found"} {
		cmd := exec.Command(testenv.Tool(t, "opensc-tool"), "-l")
		cmd.Env = []string{"PCSCLITE_CSOCK_NAME=" + socket}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		if out, err := cmd.CombinedOutput(); !strings.Contains(string(out), want) {
			t.Errorf("opensc-tool -l of user %d printed %q, %v, want %q", uid, out, err, want)
		}
	}
}

// TestServeEnds: the end of the context ends clients and cards, the loss of the readers ends the server.
func TestServeEnds(t *testing.T) {
	f := newFake(t, with("r"))
	path := filepath.Join(directory(t), "s")
	server := pcscd.New(pcscd.Config{Source: f, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	listener := listen(t, path)
	go func() { ended <- server.Serve(ctx, listener) }()
	p := enter(t, path)
	check(t, "Begin", p.begin(p.connect("r")), success)
	waiter := enter(t, path)
	waiter.call(0x13, nil, 16*184)
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Serve() = %v, want nil", err)
	}
	p.closed()
	waiter.closed()
	f.wantCalls("connect", "begin", "disconnect 1")
	if open := f.openCards(); len(open) > 0 {
		t.Errorf("cards of %q are open, want none", open)
	}

	server = pcscd.New(pcscd.Config{Source: broken{}, Log: slog.New(slog.DiscardHandler)})
	if err := server.Serve(t.Context(), listen(t, path)); cardbroker.ReasonOf(err) != cardbroker.Unavailable {
		t.Errorf("Serve() = %v without readers, want unavailable", err)
	}
}

// broken is a source that has none.
type broken struct{ pcscd.Source }

func (broken) Watch(context.Context, func(pcscd.Event)) error {
	return cardbroker.Errorf(cardbroker.Unavailable, "no readers")
}
