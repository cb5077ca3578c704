// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package child

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/quiet"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// start starts the child with no other environment than cfg says. Descriptors 3 to 18 are its ends of the streams, in order; nothing
// else is open in it but its standard error, which goes to our log.
func start(cfg Config) (_ *Process, err error) {
	program, err := trusted(cfg.Program)
	if err != nil {
		return nil, err
	}
	p := &Process{Started: time.Now(), ended: make(chan struct{}), stderr: &lines{log: cfg.Log}}
	p.cmd = exec.Command(program, cfg.Args...)
	p.cmd.Env = append([]string{}, cfg.Env...) // nil would be our own
	p.cmd.Stderr = p.stderr
	p.cmd.WaitDelay = stopLimit
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a terminal's ^C is for the agent alone
	defer func() {
		for _, theirs := range p.cmd.ExtraFiles { // else their end is no EOF here
			theirs.Close()
		}
		if err != nil {
			p.closeLines()
		}
	}()
	for n := range wire.Streams {
		ours, theirs, err := socketpair()
		if err != nil {
			return nil, cardbroker.Wrapf(err, cardbroker.Unavailable, "no streams can be made for the sandbox")
		}
		p.cmd.ExtraFiles = append(p.cmd.ExtraFiles, theirs)
		p.Lines[n] = &Line{Stream: wire.NewStream(quiet.New(ours))}
	}
	if err := p.cmd.Start(); err != nil {
		return nil, cardbroker.Wrapf(err, cardbroker.Unavailable, "the sandbox cannot be started")
	}
	return p, nil
}

// socketpair returns the two ends of a stream, the second ready to be handed over.
func socketpair() (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "stream"), os.NewFile(uintptr(fds[1]), "stream")
	defer ours.Close() // FileConn takes a copy
	conn, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return conn, theirs, nil
}

// trusted returns the program's path without symbolic links, if nobody but root and our own user can put another program
// there.
func trusted(program string) (string, error) {
	path, err := filepath.Abs(program)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return "", cardbroker.Wrapf(err, cardbroker.Unavailable, "the sandbox program is not there")
	}
	for at := path; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if err != nil {
			return "", cardbroker.Wrapf(err, cardbroker.Unavailable, "the sandbox program cannot be checked")
		}
		if at == path && !info.Mode().IsRegular() {
			return "", cardbroker.Errorf(cardbroker.Unavailable, "the sandbox program %s is not a file", path)
		}
		if !ownOnly(info) {
			return "", cardbroker.Errorf(cardbroker.Unavailable, "the sandbox program is not safe: others may write %s", at)
		}
		if at == filepath.Dir(at) {
			return path, nil
		}
	}
}

// ownOnly says whether only root and our own user may write a file, or what a directory names: in a sticky directory,
// such as /tmp, others cannot replace what is ours.
func ownOnly(info fs.FileInfo) bool {
	uid := info.Sys().(*syscall.Stat_t).Uid
	if uid != 0 && uid != uint32(os.Geteuid()) {
		return false
	}
	return info.Mode().Perm()&0o022 == 0 || info.Mode()&(fs.ModeDir|fs.ModeSticky) == fs.ModeDir|fs.ModeSticky
}
