// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package peer

import (
	"io"
	"net"
	"net/netip"
	"syscall"

	"github.com/cardbroker/cardbroker"
)

// Kernel asks the kernel about TCP sockets; on this system it cannot, and everything is Unsupported.
type Kernel struct{}

// NewKernel returns a Kernel.
func NewKernel() *Kernel { return &Kernel{} }

// Close does nothing.
func (k *Kernel) Close() {}

// Lookup is Unsupported.
func (k *Kernel) Lookup(client, server netip.AddrPort) (Caller, error) {
	return Caller{}, unsupported()
}

// Attest is Unsupported.
func (k *Kernel) Attest(conn *net.TCPConn) (Caller, error) { return Caller{}, unsupported() }

// CheckListener is Unsupported.
func (k *Kernel) CheckListener(port cardbroker.Port, owner cardbroker.UserID, ipv6 bool) error {
	return unsupported()
}

// CheckReceiver is Unsupported.
func (k *Kernel) CheckReceiver(port cardbroker.Port, owner cardbroker.UserID) error {
	return unsupported()
}

// Listener is Unsupported.
func (k *Kernel) Listener(port cardbroker.Port) (Listener, error) { return Listener{}, unsupported() }

// Process finds nobody.
func (l Listener) Process() (pid int, name string) { return 0, "" }

// LockedBy finds nobody.
func LockedBy(path string) (pid int, name string) { return 0, "" }

// Lock is Unsupported.
func Lock(path string) (io.Closer, error) { return nil, unsupported() }

// Established is Unsupported.
func Established(conn *net.TCPConn) error { return unsupported() }

// Local is Unsupported.
func Local(conn *net.UnixConn) (Caller, error) { return Caller{}, unsupported() }

// LocalUser is Unsupported.
func LocalUser(conn *net.UnixConn) (cardbroker.UserID, error) {
	return cardbroker.UserID{}, unsupported()
}

// CheckServer is Unsupported.
func CheckServer(conn *net.UnixConn, allowed ...cardbroker.UserID) (Caller, error) {
	return Caller{}, unsupported()
}

// Joined is Unsupported.
func Joined(conn syscall.Conn) error { return unsupported() }

// CheckPath is Unsupported.
func CheckPath(path string, allowed ...cardbroker.UserID) error { return unsupported() }

// CheckFile is Unsupported.
func CheckFile(path string, allowed ...cardbroker.UserID) error { return unsupported() }

func unsupported() error {
	return cardbroker.Refusef(cardbroker.Unsupported, cardbroker.RulePeerUnsupported, "this system cannot tell who is calling")
}
