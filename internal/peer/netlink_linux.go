// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// The layouts of sock_diag(7), all native byte order but the ports, which are big-endian.
const (
	requestSize = unix.SizeofNlMsghdr + 56 // and struct inet_diag_req_v2
	answerSize  = unix.SizeofNlMsghdr + 72 // and struct inet_diag_msg; attributes follow
	cgroupID    = 21                       // INET_DIAG_CGROUP_ID: u64, kernel 5.9
)

// Which sockets a look-up sees: a socket may be bound to an interface, which any user may do with his own.
const (
	unboundOnly = 0 // those that are bound to none; of these, one connection alone can have the same two addresses
	loopback    = 1 // these, and those bound to lo, which has this index in every network namespace
)

// question is which socket is looked up. For UDP it is the one that gets what src sends to dst, where src may be without port; "src and dst
// are swapped for historical reasons", as the kernel's source says.
type question struct {
	protocol uint8          // of TCP and UDP
	src, dst netip.AddrPort // both IPv4 or both IPv6
	iface    uint32         // see loopback
}

// entry is what the kernel says of one socket. The zero entry is no socket.
type entry struct {
	state    uint8
	src, dst netip.AddrPort // IPv4 in an IPv6 socket is given as IPv4
	uid      uint32
	inode    uint32 // 0: no process has it open
	cgroup   uint64 // 0: unknown
	cookie   uint64 // of the socket: no other ever has it
}

// socket is a NETLINK_SOCK_DIAG socket. One goroutine uses it at a time.
type socket struct {
	fd      int
	seq     uint32
	request [requestSize]byte
	answer  [1024]byte // answers are under 300 bytes
}

// openSocket opens a socket that hears the kernel only and waits at most a second for it.
func openSocket() (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("cannot open a netlink socket: %w", err)
	}
	err = unix.Connect(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	if err == nil {
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1})
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot prepare a netlink socket: %w", err)
	}
	return &socket{fd: fd}, nil
}

func (s *socket) close() { unix.Close(s.fd) }

// ask looks up the one TCP socket whose own end is src and whose other end is dst among those that the interface selects, or
// one of UDP. The kernel answers with an entry or with an errno; with an err instead the socket is not used again.
//
// The request is an exact one, without NLM_F_DUMP: a dump is filtered by ports only, not by addresses. Even so the
// kernel falls back to a listener on src when it knows no such connection.
func (s *socket) ask(q question) (e entry, errno unix.Errno, err error) {
	s.seq++
	s.compose(q)
	if _, err := unix.Write(s.fd, s.request[:]); err != nil {
		return entry{}, 0, fmt.Errorf("cannot write to the netlink socket: %w", err)
	}
	for {
		n, from, err := unix.Recvfrom(s.fd, s.answer[:], 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return entry{}, 0, fmt.Errorf("cannot read from the netlink socket: %w", err)
		}
		if sender, ok := from.(*unix.SockaddrNetlink); !ok || sender.Pid != 0 {
			continue // not the kernel
		}
		kind, body, err := s.message(s.answer[:n])
		switch {
		case err != nil:
			return entry{}, 0, err
		case body == nil:
			continue // the answer to an earlier request
		case kind == unix.NLMSG_ERROR && len(body) >= 4:
			return entry{}, unix.Errno(-int32(binary.NativeEndian.Uint32(body))), nil
		case kind == unix.SOCK_DIAG_BY_FAMILY && len(body) >= answerSize-unix.SizeofNlMsghdr:
			return parseEntry(body), 0, nil
		}
		return entry{}, 0, fmt.Errorf("netlink message of type %d has %d bytes", kind, len(body))
	}
}

// compose writes nlmsghdr and inet_diag_req_v2.
func (s *socket) compose(q question) {
	src, dst := q.src, q.dst
	native, network := binary.NativeEndian, binary.BigEndian
	b := s.request[:]
	clear(b)
	native.PutUint32(b[0:], requestSize)
	native.PutUint16(b[4:], unix.SOCK_DIAG_BY_FAMILY)
	native.PutUint16(b[6:], unix.NLM_F_REQUEST)
	native.PutUint32(b[8:], s.seq)

	r := b[unix.SizeofNlMsghdr:]
	r[0], r[1] = unix.AF_INET6, q.protocol
	native.PutUint32(r[4:], 0xffffffff) // every state
	network.PutUint16(r[8:], src.Port())
	network.PutUint16(r[10:], dst.Port())
	if src.Addr().Is4() {
		r[0] = unix.AF_INET
		from, to := src.Addr().As4(), dst.Addr().As4()
		copy(r[12:], from[:])
		copy(r[28:], to[:])
	} else {
		from, to := src.Addr().As16(), dst.Addr().As16()
		copy(r[12:], from[:])
		copy(r[28:], to[:])
	}
	native.PutUint32(r[44:], q.iface)
	native.PutUint64(r[48:], 0xffffffffffffffff) // INET_DIAG_NOCOOKIE, twice
}

// message takes the first netlink message of b apart: its type, and its body, which is nil if it answers another
// request than the last.
func (s *socket) message(b []byte) (kind uint16, body []byte, err error) {
	if len(b) < unix.SizeofNlMsghdr {
		return 0, nil, fmt.Errorf("netlink message of %d bytes", len(b))
	}
	size := binary.NativeEndian.Uint32(b)
	if size < unix.SizeofNlMsghdr || uint64(size) > uint64(len(b)) {
		return 0, nil, fmt.Errorf("netlink message of %d bytes says %d", len(b), size)
	}
	if binary.NativeEndian.Uint32(b[8:]) != s.seq {
		return 0, nil, nil
	}
	return binary.NativeEndian.Uint16(b[4:]), b[unix.SizeofNlMsghdr:size], nil
}

// parseEntry reads an inet_diag_msg of at least its fixed 72 bytes, and its attributes.
func parseEntry(b []byte) entry {
	native, network := binary.NativeEndian, binary.BigEndian
	e := entry{state: b[1], uid: native.Uint32(b[64:]), inode: native.Uint32(b[68:]), cookie: native.Uint64(b[44:])}
	src, dst := netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
	if b[0] == unix.AF_INET {
		src, dst = netip.AddrFrom4([4]byte(b[8:])), netip.AddrFrom4([4]byte(b[24:]))
	}
	e.src = netip.AddrPortFrom(src.Unmap(), network.Uint16(b[4:]))
	e.dst = netip.AddrPortFrom(dst.Unmap(), network.Uint16(b[6:]))
	for rest := b[answerSize-unix.SizeofNlMsghdr:]; len(rest) >= unix.SizeofRtAttr; {
		size := int(native.Uint16(rest))
		if size < unix.SizeofRtAttr || size > len(rest) {
			break
		}
		if native.Uint16(rest[2:]) == cgroupID && size == unix.SizeofRtAttr+8 {
			e.cgroup = native.Uint64(rest[unix.SizeofRtAttr:])
		}
		rest = rest[min((size+3)&^3, len(rest)):]
	}
	return e
}
