// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package quiet

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// TCPState returns the state of a TCP socket, tcp(7): the first byte of struct tcp_info.
func TCPState(fd int) (state uint8, err error) {
	size := uint32(unsafe.Sizeof(state))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP, unix.TCP_INFO,
		uintptr(unsafe.Pointer(&state)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0, errno
	}
	return state, nil
}
