// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/peer"
)

// Loopback is the kind of 127.0.0.1 and [::1]: callers are named by the kernel's TCP table.
type Loopback struct {
	Kernel *peer.Kernel
	Name   string // a further host name that callers may use; empty: none
}

var _ Kind = Loopback{}

// Attest looks the client's end up.
func (l Loopback) Attest(conn net.Conn) (Caller, error) {
	tcp := conn.(*net.TCPConn)
	caller, err := l.Kernel.Attest(tcp)
	if err != nil { // the addresses are known all the same, for `host explain`
		caller = Caller{Client: addrPort(tcp.RemoteAddr()), Server: addrPort(tcp.LocalAddr())}
	}
	return caller, err
}

// StillThere says whether our end is still ESTABLISHED: then the client's end is the one that was attested.
func (l Loopback) StillThere(conn net.Conn) error { return peer.Established(conn.(*net.TCPConn)) }

// CheckHost wants 127.0.0.1, [::1], localhost or the configured name, with our port: a page that was bound to another
// name by its DNS server says that name.
func (l Loopback) CheckHost(host string, caller Caller) error { return checkHost(host, caller, l.Name) }

// checkHost wants one of our names, with the port that the caller has connected to.
func checkHost(host string, caller Caller, further string) error {
	name, port, ok := cutLast(host, ":")
	if ok && port == strconv.Itoa(int(caller.Server.Port())) {
		switch name = strings.ToLower(name); {
		case name == "127.0.0.1", name == "[::1]", name == "localhost", name == further && name != "":
			return nil
		}
	}
	return cardbroker.Refusef(cardbroker.OriginDenied, cardbroker.RuleHostHeader, "the Host header does not name this program")
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func addrPort(addr net.Addr) netip.AddrPort {
	if tcp, ok := addr.(*net.TCPAddr); ok {
		return tcp.AddrPort()
	}
	return netip.AddrPort{}
}

// Local is the kind of a Unix socket: callers are named by the credentials of their connection, which last as long as it
// does.
type Local struct{}

var _ Kind = Local{}

// Attest reads the connection's credentials.
func (Local) Attest(conn net.Conn) (Caller, error) { return peer.Local(conn.(*net.UnixConn)) }

// StillThere is always so.
func (Local) StillThere(net.Conn) error { return nil }

// CheckHost accepts any name: no web page can open a Unix socket.
func (Local) CheckHost(string, Caller) error { return nil }
