// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package actor

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"time"
)

// The first byte of a message of memberlist v0.7.0, net.go.
const (
	msgPing      = 0
	msgSuspect   = 3
	msgAlive     = 4
	msgDead      = 5
	msgPushPull  = 6
	msgCompound  = 7
	msgCompress  = 9
	msgChecksum  = 12
	forgedNumber = 1 << 30 // an incarnation above all that there are
)

// How a forger works: a packet of each kind to every voter by turns, and a few streams.
const (
	forgeEvery   = time.Millisecond
	forgeStreams = 20 * time.Millisecond
	forgedNodes  = 100 // of a state that looks like one
	endlessNodes = 1 << 20
)

// Forge is whoever wants to confuse voters: it learns their names, and then says of all that they are dead, of others that they live, and
// much that means nothing, to the gossip ports of 127.0.0.1, until ctx ends.
func Forge(ctx context.Context, ports []string) error {
	var dialer net.Dialer
	dialer.SetMultipathTCP(false)
	var voters []net.Conn
	var names []string
	for _, port := range ports {
		address := net.JoinHostPort("127.0.0.1", port)
		conn, err := dialer.DialContext(ctx, "udp", address)
		if err != nil {
			return err
		}
		voters = append(voters, conn)
		names = append(names, learn(ctx, dialer.DialContext, address)...)
		go func() {
			for ctx.Err() == nil {
				lie(ctx, dialer.DialContext, address)
				<-time.After(forgeStreams)
			}
		}()
	}
	fmt.Println(len(names)) // it has begun
	for i := 0; ctx.Err() == nil; i++ {
		packet := forged(names, i)
		for _, conn := range voters {
			conn.Write(packet) // it may be gone, and come back
		}
		<-time.After(forgeEvery)
	}
	return nil
}

// learn asks a voter for all that it knows, as one who joins does, and returns the names in the answer.
func learn(ctx context.Context, dial Dialer, address string) (names []string) {
	conn, err := dial(ctx, "tcp", address)
	if err != nil {
		return nil
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Second))
	conn.Write(append([]byte{msgPushPull}, stateHead(0)...))
	answer, _ := io.ReadAll(io.LimitReader(conn, 1<<20))
	for {
		_, rest, found := bytes.Cut(answer, text("Name"))
		if !found || len(rest) == 0 {
			return names
		}
		size := int(rest[0] & 0x1f)
		if rest[0]>>5 != 5 || len(rest) <= size {
			return names
		}
		names, answer = append(names, string(rest[1:1+size])), rest[1+size:]
	}
}

// lie opens a stream and sends something that takes memory, or time.
func lie(ctx context.Context, dial Dialer, address string) {
	conn, err := dial(ctx, "tcp", address)
	if err != nil {
		return
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Second))
	switch mathrand.N(4) {
	case 0: // many nodes, which are none
		conn.Write(append([]byte{msgPushPull}, stateHead(endlessNodes)...))
	case 1:
		state := append([]byte{msgPushPull}, stateHead(forgedNodes)...)
		for i := range forgedNodes {
			state = append(state, node(fmt.Sprint("forged-", i), uint16(20000+i))...)
		}
		conn.Write(state)
	case 2:
		junk := make([]byte, 64<<10)
		rand.Read(junk)
		conn.Write(junk)
	case 3: // nothing at all
	}
	io.Copy(io.Discard, io.LimitReader(conn, 1<<20))
}

// forged returns the packet that comes next.
func forged(names []string, i int) []byte {
	name := func(i int) string {
		if len(names) == 0 {
			return "nobody"
		}
		return names[i%len(names)]
	}
	victim, witness := name(i/8), name(i/8+1)
	switch i % 8 {
	case 0:
		return about(msgDead, victim, witness)
	case 1:
		return about(msgDead, victim, victim) // it says that it leaves
	case 2:
		return about(msgSuspect, victim, witness)
	case 3:
		return alive(victim, uint16(mathrand.N(1<<16)))
	case 4:
		return alive(fmt.Sprint("forged-", i), uint16(20000+i%1000))
	case 5:
		return compound(about(msgDead, victim, witness), alive(fmt.Sprint("other-", i), 20001), about(msgSuspect, witness, victim))
	case 6:
		junk := make([]byte, 1+mathrand.N(1400))
		rand.Read(junk)
		junk[0] = []byte{msgPing, msgAlive, msgPushPull, msgCompound, msgCompress, msgChecksum, 244}[i/8%7]
		return junk
	}
	return append([]byte{msgPing}, pack(2, text("SeqNo"), number(uint32(i)), text("Node"), text(victim))...)
}

func about(kind byte, victim, witness string) []byte {
	return append([]byte{kind}, pack(3, text("Incarnation"), number(forgedNumber), text("Node"), text(victim), text("From"), text(witness))...)
}

func alive(name string, port uint16) []byte {
	return append([]byte{msgAlive}, pack(6, text("Incarnation"), number(forgedNumber), text("Node"), text(name),
		text("Addr"), text("\x7f\x00\x00\x01"), text("Port"), number(uint32(port)), text("Meta"), text("12345678"), text("Vsn"), text("\x01\x05\x02\x00\x00\x00"))...)
}

func node(name string, port uint16) []byte {
	return pack(7, text("Name"), text(name), text("Addr"), text("\x7f\x00\x00\x01"), text("Port"), number(uint32(port)),
		text("Meta"), text("12345678"), text("Incarnation"), number(1), text("State"), number(0), text("Vsn"), text("\x01\x05\x02\x00\x00\x00"))
}

// stateHead is the header of a state of n nodes.
func stateHead(n uint32) []byte {
	return pack(3, text("Join"), []byte{0xc3}, text("Nodes"), number(n), text("UserStateLen"), number(0))
}

// compound is several messages in a packet.
func compound(messages ...[]byte) []byte {
	packet := []byte{msgCompound, byte(len(messages))}
	for _, m := range messages {
		packet = binary.BigEndian.AppendUint16(packet, uint16(len(m)))
	}
	return append(packet, bytes.Join(messages, nil)...)
}

// MessagePack, as memberlist's encoder writes it.

func pack(pairs int, parts ...[]byte) []byte {
	return append([]byte{0x80 | byte(pairs)}, bytes.Join(parts, nil)...)
}

func text(s string) []byte {
	if len(s) < 32 {
		return append([]byte{0xa0 | byte(len(s))}, s...)
	}
	return append(binary.BigEndian.AppendUint16([]byte{0xda}, uint16(len(s))), s...)
}

func number(n uint32) []byte {
	if n < 128 {
		return []byte{byte(n)}
	}
	return binary.BigEndian.AppendUint32([]byte{0xce}, n)
}
