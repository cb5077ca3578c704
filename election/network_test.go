// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package election_test

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// network carries gossip in memory. memberlist's own MockNetwork waits for ever for who has shut down.
type network struct {
	mu    sync.Mutex
	ports map[string]*port // by address
	gone  map[string]bool  // names that nothing goes to or comes from
	next  uint16
	full  bool // there are no ports left
}

// port is one transport. What nobody takes is lost.
type port struct {
	net     *network
	name    string
	addr    netip.AddrPort
	packets chan *memberlist.Packet
	streams chan net.Conn
}

var errUnreachable = errors.New("unreachable")

func newNetwork() *network {
	return &network{ports: map[string]*port{}, gone: map[string]bool{}, next: 40000}
}

func (n *network) listener(name string) func() (memberlist.NodeAwareTransport, error) {
	return func() (memberlist.NodeAwareTransport, error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.full {
			return nil, errUnreachable
		}
		n.next++
		p := &port{net: n, name: name, packets: make(chan *memberlist.Packet, 64), streams: make(chan net.Conn, 8)}
		p.addr = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), n.next)
		n.ports[p.addr.String()] = p
		return p, nil
	}
}

// cut loses all that goes to these names, or comes from them.
func (n *network) cut(names ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, name := range names {
		n.gone[name] = true
	}
}

// to returns the port at an address that this one reaches.
func (p *port) to(addr string) (*port, error) {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	other := p.net.ports[addr]
	if other == nil || p.net.gone[p.name] || p.net.gone[other.name] {
		return nil, errUnreachable
	}
	return other, nil
}

func (p *port) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return p.addr.Addr().AsSlice(), int(p.addr.Port()), nil
}

func (p *port) WriteTo(b []byte, addr string) (time.Time, error) {
	other, err := p.to(addr)
	if err == nil {
		select {
		case other.packets <- &memberlist.Packet{Buf: b, From: net.UDPAddrFromAddrPort(p.addr), Timestamp: time.Now()}:
		default:
		}
	}
	return time.Now(), nil
}

func (p *port) DialTimeout(addr string, _ time.Duration) (net.Conn, error) {
	other, err := p.to(addr)
	if err != nil {
		return nil, err
	}
	near, far := net.Pipe()
	select {
	case other.streams <- far:
		return near, nil
	default:
		return nil, errUnreachable
	}
}

func (p *port) Shutdown() error {
	p.net.mu.Lock()
	delete(p.net.ports, p.addr.String())
	p.net.mu.Unlock()
	for {
		select {
		case c := <-p.streams:
			c.Close()
		default:
			return nil
		}
	}
}

func (p *port) PacketCh() <-chan *memberlist.Packet { return p.packets }
func (p *port) StreamCh() <-chan net.Conn           { return p.streams }

func (p *port) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return p.WriteTo(b, a.Addr)
}

func (p *port) DialAddressTimeout(a memberlist.Address, d time.Duration) (net.Conn, error) {
	return p.DialTimeout(a.Addr, d)
}
