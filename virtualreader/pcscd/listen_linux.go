// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcscd

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/peer"
)

// maxPath is how many bytes the path of a socket may have, unix(7); libpcsclite cuts a longer one off.
const maxPath = len(unix.RawSockaddrUnix{}.Path) - 1

// Listen makes the socket that clients connect to, mode 0600. Nobody but our own user and root may write to its directory.
// The socket of a server that was killed is replaced. Errors: Invalid (the path), CallerRefused (the directory), Conflict
// (another server listens there, or the path is no socket), Unavailable.
func Listen(path string) (*net.UnixListener, error) {
	if n := len(path); n == 0 || n > maxPath {
		return nil, cardbroker.Errorf(cardbroker.Invalid, "the socket's path has %d bytes, want 1 to %d, which is the system's limit", n, maxPath)
	}
	dir, err := lockDirectory(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer dir.Close() // and unlock it
	if err := removeStale(path); err != nil {
		return nil, err
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, cardbroker.Wrapf(err, cardbroker.Unavailable, "cannot make the socket %s", path)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		listener.Close()
		return nil, cardbroker.Wrapf(err, cardbroker.Unavailable, "cannot make the socket %s", path)
	}
	return listener, nil
}

// lockDirectory checks the directory and keeps other servers from making a socket in it until it is closed.
func lockDirectory(path string) (*os.File, error) {
	if err := peer.CheckPath(path, peer.Self()); err != nil {
		return nil, err
	}
	dir, err := os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, cardbroker.Wrapf(err, cardbroker.Unavailable, "cannot open the socket's directory %s", path)
	}
	info, err := dir.Stat()
	switch {
	case err != nil:
		err = cardbroker.Wrapf(err, cardbroker.Unavailable, "cannot check the socket's directory %s", path)
	case info.Mode().Perm()&0o022 != 0: // sticky or not: others could put a socket there while the server is away
		err = cardbroker.Refusef(cardbroker.CallerRefused, cardbroker.RuleSocketForeign, "others may write to the socket's directory %s", path)
	default:
		if err = unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			err = cardbroker.Wrapf(err, cardbroker.Conflict, "another server is being started in %s", path)
		}
	}
	if err != nil {
		dir.Close()
		return nil, err
	}
	return dir, nil
}

// removeStale removes the socket of a server that is dead, and says what else is in the way.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return cardbroker.Wrapf(err, cardbroker.Unavailable, "cannot look at %s", path)
	case info.Mode().Type() != fs.ModeSocket:
		return cardbroker.Errorf(cardbroker.Conflict, "%s is there, and is no socket", path)
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err == nil {
		conn.Close()
		return cardbroker.Errorf(cardbroker.Conflict, "another server listens on %s", path)
	}
	if !errors.Is(err, unix.ECONNREFUSED) { // such as EAGAIN: it lives, and is busy
		return cardbroker.Wrapf(err, cardbroker.Conflict, "%s is in use", path)
	}
	if err := os.Remove(path); err != nil {
		return cardbroker.Wrapf(err, cardbroker.Unavailable, "cannot remove %s, which a dead server left", path)
	}
	return nil
}
