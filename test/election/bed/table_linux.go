// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package bed

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// Socket is a row of the kernel's tables, proc_pid_net(5).
type Socket struct {
	Address netip.AddrPort
	UID     uint32
	Inode   uint64
}

const stateListen = "0A"

// Listeners returns the TCP sockets that listen.
func Listeners() ([]Socket, error) {
	return table(stateListen, "tcp", "tcp6")
}

// Gossip returns the UDP sockets, by the process's own: who gossips has one.
func Gossip() ([]Socket, error) { return table("", "udp", "udp6") }

func table(state string, names ...string) (found []Socket, err error) {
	for _, name := range names {
		text, err := os.ReadFile("/proc/self/net/" + name)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			words := strings.Fields(line)
			if len(words) < 10 || words[0] == "sl" || state != "" && words[3] != state {
				continue
			}
			s, err := socketOf(words[1], words[7], words[9])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			found = append(found, s)
		}
	}
	return found, nil
}

// socketOf reads an address, as words of 32 bits in the machine's order, a uid and an inode.
func socketOf(address, uid, inode string) (s Socket, err error) {
	host, port, _ := strings.Cut(address, ":")
	raw, err := hex.DecodeString(host)
	if err != nil || len(raw)%4 != 0 {
		return s, fmt.Errorf("address %q", address)
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	ip, _ := netip.AddrFromSlice(raw)
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return s, err
	}
	user, err := strconv.ParseUint(uid, 10, 32)
	if err != nil {
		return s, err
	}
	s.Address, s.UID = netip.AddrPortFrom(ip, uint16(n)), uint32(user)
	s.Inode, err = strconv.ParseUint(inode, 10, 64)
	return s, err
}

// holds says whether a process has one of the sockets open.
func holds(pid int, sockets map[uint64]bool) bool {
	folder := fmt.Sprintf("/proc/%d/fd", pid)
	files, _ := os.ReadDir(folder) // it may end meanwhile
	for _, file := range files {
		target, err := os.Readlink(folder + "/" + file.Name())
		if err != nil {
			continue
		}
		number, ok := strings.CutPrefix(target, "socket:[")
		if inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64); ok && err == nil && sockets[inode] {
			return true
		}
	}
	return false
}

// Office returns the sockets that hold the well-known port. There may be two, of one owner, and none of anybody else.
func Office() ([]Socket, error) {
	all, err := Listeners()
	if err != nil {
		return nil, err
	}
	var held []Socket
	for _, s := range all {
		if s.Address.Port() == Port {
			held = append(held, s)
		}
	}
	return held, nil
}

// Leader returns the agent that holds the well-known port on both addresses; nil: none does. For a moment that may be two: who dies lets
// go of one address after the other, and who tries to take office of both.
func (b *Bed) Leader() (*Agent, error) {
	held, err := Office()
	if err != nil || len(held) != 2 {
		return nil, err
	}
	for _, a := range b.Agents {
		if a.PID() == 0 || a.UID() != held[0].UID {
			continue
		}
		if holds(a.PID(), map[uint64]bool{held[0].Inode: true}) && holds(a.PID(), map[uint64]bool{held[1].Inode: true}) {
			return a, nil
		}
	}
	return nil, nil
}

// Voters returns the agents that gossip.
func (b *Bed) Voters() (voters []*Agent, err error) {
	sockets, err := Gossip()
	if err != nil {
		return nil, err
	}
	inodes := make(map[uint64]bool)
	for _, s := range sockets {
		inodes[s.Inode] = true
	}
	for _, a := range b.Agents {
		if a.PID() != 0 && holds(a.PID(), inodes) {
			voters = append(voters, a)
		}
	}
	return voters, nil
}
