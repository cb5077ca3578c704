// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package stage

import (
	"errors"
	"fmt"
	"syscall"
)

// Reserve returns an address on the loopback for a service that comes back to it after it was killed: until the stage is struck nobody who
// takes any port gets this one. It is bound, but not listened on, so that who names it can listen on it: with SO_REUSEADDR, socket(7), which
// package net sets.
func (s *Stage) Reserve() (address string, err error) {
	for range 100 {
		four, port, err := bound(syscall.AF_INET, 0)
		if err != nil {
			return "", err
		}
		s.reserved = append(s.reserved, four)
		six, _, err := bound(syscall.AF_INET6, port)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err == nil { // else this host has no IPv6
			s.reserved = append(s.reserved, six)
		}
		return fmt.Sprintf("127.0.0.1:%d", port), nil
	}
	return "", errors.New("no port is free on 127.0.0.1 and [::1]")
}

// bound returns a socket that is bound to a port of the loopback, and the port; 0: any.
func bound(family, port int) (fd, got int, err error) {
	fd, err = syscall.Socket(family, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, 0, err
	}
	var at syscall.Sockaddr = &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
	if family == syscall.AF_INET6 {
		at = &syscall.SockaddrInet6{Port: port, Addr: [16]byte{15: 1}}
	}
	err = errors.Join(syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1), syscall.Bind(fd, at))
	if err == nil {
		at, err = syscall.Getsockname(fd)
	}
	if err != nil {
		syscall.Close(fd)
		return -1, 0, err
	}
	switch at := at.(type) {
	case *syscall.SockaddrInet4:
		got = at.Port
	case *syscall.SockaddrInet6:
		got = at.Port
	}
	return fd, got, nil
}
