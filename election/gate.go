// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package election

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/run"
)

// Everybody on the host reaches the port that we gossip at, and memberlist takes packets that unfold to 40 MiB, and counts of a
// million nodes. Voters send nothing of the kind: what they do not send does not pass.
const (
	maxPacket  = 1500     // bytes; a voter's have 1,400 and a checksum
	maxStream  = 64 << 10 // bytes; all that a voter knows has 4 KiB
	maxStreams = 8        // at a time that others have opened
	maxPhrase  = 80       // bytes; memberlist's own are shorter
)

// The first byte of a message of memberlist, of those that voters send.
const (
	msgPing     = 0
	msgAck      = 2
	msgSuspect  = 3
	msgAlive    = 4
	msgDead     = 5
	msgState    = 6 // over a stream: all that a voter knows
	msgCompound = 7
	msgChecksum = 12
	msgError    = 13 // over a stream
)

// loopback opens a port of 127.0.0.1 to gossip at.
func (e *Elector) loopback() (memberlist.NodeAwareTransport, error) {
	logger := slog.NewLogLogger(e.cfg.Log.Handler(), slog.LevelDebug)
	logger.SetOutput(phrases{e.cfg.Log})
	t, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{BindAddrs: []string{"127.0.0.1"}, Logger: logger})
	if err != nil {
		return nil, fmt.Errorf("cannot listen on 127.0.0.1: %w", err)
	}
	return t, nil
}

// gate is a transport that lets through what voters send.
type gate struct {
	memberlist.NodeAwareTransport
	group   *run.Group
	packets chan *memberlist.Packet
	streams chan net.Conn
	room    chan struct{} // holds one for each stream that others have opened
}

func newGate(t memberlist.NodeAwareTransport) *gate {
	g := &gate{NodeAwareTransport: t, group: run.New(context.Background()), room: make(chan struct{}, maxStreams)}
	g.packets, g.streams = make(chan *memberlist.Packet), make(chan net.Conn)
	g.group.Go("packets", g.passPackets)
	g.group.Go("streams", g.passStreams)
	return g
}

func (g *gate) PacketCh() <-chan *memberlist.Packet { return g.packets }
func (g *gate) StreamCh() <-chan net.Conn           { return g.streams }

// Shutdown ends the transport first: it waits until what it has read is taken.
func (g *gate) Shutdown() error {
	err := g.NodeAwareTransport.Shutdown()
	g.group.Stop()
	return err
}

func (g *gate) passPackets(ctx context.Context) error {
	for {
		select {
		case p := <-g.NodeAwareTransport.PacketCh():
			if !passes(p.Buf) {
				continue
			}
			p.Buf = bytes.Clone(p.Buf) // of a buffer of 64 KiB, which the queue would keep
			select {
			case g.packets <- p:
			case <-ctx.Done():
				return nil
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func (g *gate) passStreams(ctx context.Context) error {
	for {
		select {
		case c := <-g.NodeAwareTransport.StreamCh():
			select {
			case g.room <- struct{}{}:
			default:
				c.Close()
				continue
			}
			s := &stream{Conn: c, closed: sync.OnceFunc(func() { <-g.room })}
			select {
			case g.streams <- s:
			case <-ctx.Done():
				s.Close()
				return nil
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func (g *gate) DialTimeout(addr string, limit time.Duration) (net.Conn, error) {
	return g.DialAddressTimeout(memberlist.Address{Addr: addr}, limit)
}

func (g *gate) DialAddressTimeout(a memberlist.Address, limit time.Duration) (net.Conn, error) {
	c, err := g.NodeAwareTransport.DialAddressTimeout(a, limit)
	if err != nil {
		return nil, err
	}
	return &stream{Conn: c, closed: func() {}}, nil
}

// stream is a connection of which only so much can be read as a voter sends.
type stream struct {
	net.Conn
	r      io.Reader // nil: nothing has been read
	closed func()
}

func (s *stream) Read(b []byte) (int, error) {
	if s.r == nil {
		head, err := readHead(s.Conn)
		if err != nil {
			return 0, err
		}
		s.r = io.MultiReader(bytes.NewReader(head), io.LimitReader(s.Conn, maxStream))
	}
	return s.r.Read(b)
}

func (s *stream) Close() error {
	s.closed()
	return s.Conn.Close()
}

// stateHead is the header of a state as memberlist writes it, in MessagePack: a map of three. The first ? is whether it is for a
// join, the second how many nodes follow, which has one byte below 128.
const stateHead = "\x06\x83\xa4Join?\xa5Nodes?\xacUserStateLen\x00"

// readHead reads the first byte of a stream, and of a state the header, and refuses what no voter sends.
func readHead(r io.Reader) ([]byte, error) {
	head := make([]byte, len(stateHead))
	if _, err := io.ReadFull(r, head[:1]); err != nil {
		return nil, err
	}
	switch head[0] {
	case msgPing, msgAck, msgError:
		return head[:1], nil
	case msgState:
		if _, err := io.ReadFull(r, head[1:]); err != nil {
			return nil, err
		}
		if isStateHead(head) {
			return head, nil
		}
	}
	return nil, cardbroker.Errorf(cardbroker.Invalid, "no voter sends this")
}

// isStateHead compares with stateHead. What may be anything there is a small number, or 0xc2 or 0xc3: false or true.
func isStateHead(b []byte) bool {
	for i, c := range []byte(stateHead) {
		if b[i] != c && (c != '?' || b[i] >= 128 && b[i]&^1 != 0xc2) {
			return false
		}
	}
	return true
}

// passes says whether a packet is a message that voters send, or several.
func passes(b []byte) bool {
	if len(b) > maxPacket {
		return false
	}
	if len(b) >= 5 && b[0] == msgChecksum {
		b = b[5:]
	}
	if len(b) < 2 || b[0] != msgCompound {
		return isGossip(b)
	}
	n := int(b[1])
	if b = b[2:]; len(b) < 2*n {
		return false
	}
	sizes, rest := b[:2*n], b[2*n:]
	for ; len(sizes) > 0; sizes = sizes[2:] {
		size := int(binary.BigEndian.Uint16(sizes))
		if size > len(rest) || !isGossip(rest[:size]) {
			return false
		}
		rest = rest[size:]
	}
	return true
}

// isGossip says whether a message is one that voters send in packets, and alone.
func isGossip(b []byte) bool {
	return len(b) > 0 && (b[0] == msgPing || b[0] >= msgAck && b[0] <= msgDead)
}

// phrases logs what memberlist writes at level debug, and of each line only how it begins: the rest comes from others.
type phrases struct{ log *slog.Logger }

func (p phrases) Write(line []byte) (int, error) {
	if p.log.Enabled(context.Background(), slog.LevelDebug) {
		p.log.Debug("gossip", "err", phrase(string(line)))
	}
	return len(line), nil
}

// phrase returns the beginning of a line like "2026/11/26 21:40:00 [WARN] memberlist: Refuting a suspect message (from: x)", up to
// what is no letter.
func phrase(line string) string {
	if _, after, found := strings.Cut(line, "memberlist: "); found {
		line = after
	}
	if i := strings.IndexFunc(line, func(r rune) bool { return r != ' ' && (r < 'A' || r > 'z' || r > 'Z' && r < 'a') }); i >= 0 {
		line = line[:i]
	}
	return strings.TrimSpace(line[:min(len(line), maxPhrase)])
}
