// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcscbed

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"
)

// What the service's protocol has for who follows its readers: a header of size and command, then the body, in the order of
// bytes of the machine. Answers have no header.
const (
	commandWait    = 0x13 // answers the states, and 8 bytes more at the next change
	commandVersion = 0x11
	versionMajor   = 4
	versionMinor   = 4
	stateSize      = 184
	stateCount     = 16
	statePresent   = 4
	stateSwallowed = 8
)

// state is a reader's, as the service keeps it.
type state []byte

func (s state) name() string {
	name, _, _ := bytes.Cut(s[:128], []byte{0})
	return string(name)
}

func (s state) counter() uint32 { return binary.NativeEndian.Uint32(s[128:]) }

func (s state) flags() uint32 { return binary.NativeEndian.Uint32(s[132:]) }

// present says whether a card is in, and powered or mute: there is a moment before.
func (s state) present() bool {
	return s != nil && s.flags()&statePresent != 0 && (s.mute() || binary.NativeEndian.Uint32(s[176:]) > 0)
}

func (s state) mute() bool { return s.flags()&stateSwallowed != 0 }

func find(states []state, name string) (state, bool) {
	for _, s := range states {
		if s.name() == name {
			return s, true
		}
	}
	return nil, false
}

// await waits until the readers are as wanted. Only a service that does not listen yet is asked again and again.
func (b *Bed) await(ctx context.Context, is func([]state) bool) error {
	for {
		err := b.follow(ctx, is)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the readers are not as they should be: %w; see %s", err, b.path("pcscd.log"))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// follow listens to the service until the readers are as wanted.
func (b *Bed) follow(ctx context.Context, is func([]state) bool) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", b.Socket())
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	version := []uint32{12, commandVersion, versionMajor, versionMinor, 0}
	if err := binary.Write(conn, binary.NativeEndian, version); err != nil {
		return err
	}
	var answer [3]uint32
	if err := binary.Read(conn, binary.NativeEndian, &answer); err != nil {
		return err
	}
	if answer[2] != 0 {
		return fmt.Errorf("the service refuses version %d.%d: %08X", versionMajor, versionMinor, answer[2])
	}
	for {
		if err := binary.Write(conn, binary.NativeEndian, []uint32{0, commandWait}); err != nil {
			return err
		}
		var all [stateCount * stateSize]byte
		if _, err := io.ReadFull(conn, all[:]); err != nil {
			return err
		}
		states := make([]state, stateCount)
		for i := range states {
			states[i] = all[i*stateSize:][:stateSize]
		}
		if is(states) {
			return nil
		}
		var changed [8]byte
		if _, err := io.ReadFull(conn, changed[:]); err != nil {
			return err
		}
	}
}
