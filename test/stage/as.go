// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package stage

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
)

// As runs f on a thread whose effective user is uid: what it opens and connects is his, in the eyes of the kernel. It needs
// root.
func As(uid uint32, f func()) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and unlocked only when the thread is ours again
		err := effective(uid)
		if err == nil {
			f()
			err = effective(uint32(os.Getuid()))
		}
		if err == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		return fmt.Errorf("cannot be user %d: %w", uid, err)
	}
	return nil
}

// effective sets the effective user of this thread alone; syscall.Setresuid would set that of all.
func effective(uid uint32) error {
	const same = ^uintptr(0)
	if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, same, uintptr(uid), same); errno != 0 {
		return errno
	}
	return nil
}

// Hire gives a user a place on stage who has no account: the kernel knows users by number. It needs root.
func (s *Stage) Hire(name string, uid uint32) (Person, error) {
	err := s.house(Person{Name: name, Cred: &syscall.Credential{Uid: uid, Gid: uid}})
	if err != nil {
		return Person{}, err
	}
	return s.Users[len(s.Users)-1], nil
}
