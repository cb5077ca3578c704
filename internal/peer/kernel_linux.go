// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/quiet"
)

// TCP states, tcp(7).
const (
	stateEstablished = 1
	stateListen      = 10
)

// maxSockets is how many questions are asked at a time; one takes about 4 µs.
const maxSockets = 4

// Kernel asks the kernel about TCP sockets, and of UDP who receives. Its methods may be called from several goroutines. Make it with [NewKernel].
type Kernel struct {
	sockets  chan *socket // maxSockets of them while nobody asks; nil: not opened. Closed when Close is done
	overflow uint32       // what the kernel says for a user that our user namespace does not have
}

// NewKernel returns a Kernel without open sockets: they are opened when they are needed, and kept.
func NewKernel() *Kernel {
	k := &Kernel{sockets: make(chan *socket, maxSockets), overflow: overflowUID()}
	for range maxSockets {
		k.sockets <- nil
	}
	return k
}

// Close waits for the questions that are being asked, at most a second, and closes the sockets; later questions are
// Unavailable. It is called once.
func (k *Kernel) Close() {
	for range maxSockets {
		if s := <-k.sockets; s != nil {
			s.close()
		}
	}
	close(k.sockets)
}

// Lookup returns who holds the client's end of the connection from client to server, both loopback addresses of this
// network namespace. It needs no privilege. The answer is about the two addresses, not about a connection that was
// accepted earlier: see [Kernel.Attest]. A client socket that is bound to an interface is not found, as it does not keep
// others from having the same two addresses. Errors: CallerRefused with the rule that refused, Unavailable if the kernel
// cannot be asked.
func (k *Kernel) Lookup(client, server netip.AddrPort) (Caller, error) {
	client, server = unmap(client), unmap(server)
	if !client.Addr().IsLoopback() || !server.Addr().IsLoopback() {
		return Caller{}, refuse(cardbroker.RulePeerNotLoopback, "%s to %s is not a loopback connection", client, server)
	}
	if client.Addr().Is4() != server.Addr().Is4() {
		return Caller{}, refuse(cardbroker.RulePeerNotFound, "no connection is from %s to %s", client, server)
	}
	e, errno, err := k.ask(question{unix.IPPROTO_TCP, client, server, unboundOnly})
	switch {
	case err != nil:
		return Caller{}, err
	case errno == unix.ENOENT:
		return Caller{}, refuse(cardbroker.RulePeerNotFound, "the kernel knows no connection from %s to %s", client, server)
	case errno != 0:
		return Caller{}, cannotAsk(errno)
	}
	return k.judge(e, client, server)
}

// judge returns the caller if e can only be the client's end of a live connection from client to server.
func (k *Kernel) judge(e entry, client, server netip.AddrPort) (Caller, error) {
	switch {
	case e.state != stateEstablished: // closing, with uid 0; or the listener that the kernel falls back to
		return Caller{}, refuse(cardbroker.RulePeerNotEstablished, "the client's end at %s is in TCP state %d", client, e.state)
	case e.inode == 0:
		return Caller{}, refuse(cardbroker.RulePeerNoInode, "no process holds the client's end at %s", client)
	case e.src != client || e.dst != server:
		return Caller{}, refuse(cardbroker.RulePeerMismatch, "asked for %s to %s, the kernel answered for %s to %s",
			client, server, e.src, e.dst)
	case e.uid == k.overflow:
		return Caller{}, refuse(cardbroker.RulePeerOverflowUID, "the client at %s is of another user namespace", client)
	}
	return Caller{
		User: cardbroker.UserID{UID: e.uid}, Inode: e.inode, Cookie: e.cookie, Cgroup: e.cgroup,
		Client: client, Server: server,
	}, nil
}

// Attest returns who is at the other end of the accepted connection conn: [Kernel.Lookup] of its two ends, and then
// [Established]. The order matters: what was sent on a connection can still be read after its sender has reset it and
// another user has taken its source port. Errors are those of both.
func (k *Kernel) Attest(conn *net.TCPConn) (Caller, error) {
	client, _ := conn.RemoteAddr().(*net.TCPAddr)
	server, _ := conn.LocalAddr().(*net.TCPAddr)
	caller, err := k.Lookup(client.AddrPort(), server.AddrPort())
	if err != nil {
		return Caller{}, err
	}
	if err := Established(conn); err != nil {
		return Caller{}, err
	}
	return caller, nil
}

// CheckListener checks that whoever connects to 127.0.0.1 or [::1] at the port reaches a listener of owner, be it bound
// to that address or to all. Where ipv6 is false the owner need not listen on [::1], but nobody else may. Errors:
// CallerRefused with RuleListenerMissing or RuleListenerForeign, Unavailable if the kernel cannot be asked.
func (k *Kernel) CheckListener(port cardbroker.Port, owner cardbroker.UserID, ipv6 bool) error {
	if err := k.checkListener(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port, owner, true); err != nil {
		return err
	}
	return k.checkListener(netip.IPv6Loopback(), port, owner, ipv6)
}

// checkListener asks for the socket that a new connection to addr would reach.
func (k *Kernel) checkListener(addr netip.Addr, port cardbroker.Port, owner cardbroker.UserID, required bool) error {
	l, err := k.listener(addr, port)
	switch {
	case cardbroker.RuleOf(err) == cardbroker.RuleListenerMissing && !required:
		return nil
	case err != nil:
		return err
	case l.User != owner:
		return refuse(cardbroker.RuleListenerForeign, "%s is held by a listener of user %s, not of user %s", netip.AddrPortFrom(addr, uint16(port)), l.User, owner)
	}
	return nil
}

// Listener returns whose listener is reached by whoever connects to 127.0.0.1 or [::1] at the port; nobody need listen on
// [::1]. Errors: CallerRefused with RuleListenerMissing, or with RuleListenerForeign if it is two users, one of another user
// namespace, one who has [::1] alone, or no listener; Unavailable if the kernel cannot be asked.
func (k *Kernel) Listener(port cardbroker.Port) (Listener, error) {
	l, err := k.listener(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
	if cardbroker.RuleOf(err) == cardbroker.RuleListenerMissing {
		if other, failed := k.listener(netip.IPv6Loopback(), port); failed == nil {
			other.Half = true
			return other, refuse(cardbroker.RuleListenerForeign, "port %d is held by user %s on [::1], and by nobody on 127.0.0.1", port, other.User)
		}
	}
	if err != nil {
		return l, err
	}
	if l.User.UID == k.overflow {
		return l, refuse(cardbroker.RuleListenerForeign, "port %d is held by a user of another user namespace", port)
	}
	return l, k.checkListener(netip.IPv6Loopback(), port, l.User, false)
}

// listener asks for the socket that a new connection to addr would reach.
func (k *Kernel) listener(addr netip.Addr, port cardbroker.Port) (Listener, error) {
	anybody := netip.IPv6Unspecified()
	if addr.Is4() {
		anybody = netip.IPv4Unspecified()
	}
	at := netip.AddrPortFrom(addr, uint16(port))
	e, errno, err := k.ask(question{unix.IPPROTO_TCP, at, netip.AddrPortFrom(anybody, 0), loopback})
	switch {
	case err != nil:
		return Listener{}, err
	case errno == unix.ENOENT, errno == unix.EINVAL && addr.Is6(): // a kernel that was built without IPv6
		return Listener{}, refuse(cardbroker.RuleListenerMissing, "nobody listens on %s", at)
	case errno != 0:
		return Listener{}, cannotAsk(errno)
	case e.state != stateListen:
		return Listener{}, refuse(cardbroker.RuleListenerForeign, "%s is held by a socket of user %d in TCP state %d, not by a listener", at, e.uid, e.state)
	}
	return Listener{User: cardbroker.UserID{UID: e.uid}, Inode: e.inode}, nil
}

// CheckReceiver checks that what is sent to 127.0.0.1 at the port over UDP reaches a socket of owner, be it bound to that address or to all,
// and connected to nobody. It needs no privilege; a kernel without udp_diag knows of none. Errors: as [Kernel.CheckListener].
func (k *Kernel) CheckReceiver(port cardbroker.Port, owner cardbroker.UserID) error {
	local := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	at := netip.AddrPortFrom(local, uint16(port))
	e, errno, err := k.ask(question{unix.IPPROTO_UDP, netip.AddrPortFrom(local, 0), at, loopback})
	switch {
	case err != nil:
		return err
	case errno == unix.ENOENT:
		return refuse(cardbroker.RuleListenerMissing, "nobody receives at %s", at)
	case errno != 0:
		return cannotAsk(errno)
	case e.src.Port() != at.Port():
		return refuse(cardbroker.RuleListenerMissing, "asked for %s, the kernel answered for %s", at, e.src)
	case e.uid != owner.UID:
		return refuse(cardbroker.RuleListenerForeign, "user %d receives at %s, not user %s", e.uid, at, owner)
	}
	return nil
}

// ask waits for one of the sockets and asks the kernel with it. What went wrong with a socket ends that socket.
func (k *Kernel) ask(q question) (e entry, errno unix.Errno, err error) {
	s, open := <-k.sockets
	if !open {
		return entry{}, 0, cardbroker.Errorf(cardbroker.Unavailable, "shutting down")
	}
	defer func() { k.sockets <- s }() // never blocks: the place in the channel is ours
	if s == nil {
		if s, err = openSocket(); err != nil {
			return entry{}, 0, cannotAsk(err)
		}
	}
	e, errno, err = s.ask(q)
	if err != nil {
		s.close()
		s = nil
		return entry{}, 0, cannotAsk(err)
	}
	return e, errno, nil
}

// Established checks that our own end of conn is still ESTABLISHED, so that whoever was attested still holds the other.
// It is called after the whole request has been read and right before it is acted on, also after a prompt. A client that
// has shut down its sending side is refused too. Errors: CallerRefused with RuleSocketGone.
func Established(conn *net.TCPConn) error {
	return control(conn, func(fd int) error {
		state, err := quiet.TCPState(fd)
		if err != nil || state != stateEstablished {
			return socketGone()
		}
		return nil
	})
}

// control calls f with the descriptor of conn, which is not closed meanwhile, and returns f's error. A conn that is closed
// already is refused.
func control(conn syscall.Conn, f func(fd int) error) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return socketGone()
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = f(int(fd)) }); err != nil {
		return socketGone()
	}
	return failed
}

func socketGone() error {
	return refuse(cardbroker.RuleSocketGone,
		"the connection ended before the request could be acted on")
}

// unmap returns IPv4 for IPv4 in IPv6: the kernel keeps both kinds of socket in one table.
func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

func refuse(rule cardbroker.Rule, format string, args ...any) error {
	return cardbroker.Refusef(cardbroker.CallerRefused, rule, format, args...)
}

func cannotAsk(err error) error {
	return cardbroker.Wrapf(err, cardbroker.Unavailable, "cannot ask the kernel who is calling")
}

// overflowUID returns what the kernel says in place of users that our user namespace does not have, user_namespaces(7).
func overflowUID() uint32 {
	b, err := os.ReadFile("/proc/sys/kernel/overflowuid")
	if err != nil {
		return 65534
	}
	uid, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 32)
	if err != nil {
		return 65534
	}
	return uint32(uid)
}
