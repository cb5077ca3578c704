// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"encoding/binary"
	"encoding/json"
	"io"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/test/pcscbed"
	"github.com/cardbroker/cardbroker/test/stage"
)

// TestTokenDeaths: a module that hangs costs only itself; one that is killed while it signs leaves it open whether it has, and is not asked
// again; what was read of a card is there in the next agent.
func TestTokenDeaths(t *testing.T) {
	alice, _ := holders(t, tokenPolicy)
	alice.start()
	commands, told, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { commands.Close(); told.Close() })
	alice.begin(pcscbed.Card{Copies: told, Delay: 20 * time.Millisecond})
	alice.hangs(alice.soft(softPage))
	alice.killed(alice.inReader(program), commands)
	alice.keeps(alice.inReader(cardPage))
}

// hangs stops the process of a token: readers, tunnels and other modules go on. Once it has ended, the token does, too.
func (u *holder) hangs(l place) {
	u.t.Helper()
	pid := u.process("libsofthsm2.so")
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		u.t.Fatal(err)
	}
	body := wish("x", u.pkcs1(u.hsm.PIN))
	body["timeout"] = 1
	l.does("timeout", "sign", body, nil)
	u.inReader(softPage).signs("beside it", "sign", wish("beside it", u.pkcs1(u.pin)))
	tunnel := u.tunnelBy(u.offerCard(u.p).Ticket)
	if got := u.transmit(tunnel, "00200080"); got != "63c3" {
		u.t.Errorf("beside a module that hangs a back end is answered %s, want 63c3", got)
	}
	tunnel.Close()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		u.t.Fatal(err)
	}
	u.until("another process", func() bool {
		return u.call(softPage, anyReason, "GET", "/cb/v1/modules/"+l.module+"/slots", nil, nil).Status == 200
	})
	l.signs("again", "sign", wish("again", u.pkcs1(u.hsm.PIN)))
}

// killed kills a module's process once the card is told to sign. Nobody tells it again.
func (u *holder) killed(l place, commands *os.File) {
	u.t.Helper()
	blob := u.pkcs1(u.pin)
	l.does("", "info", nil, nil)
	heard := listener{pipe: commands}
	heard.rest()
	pid, body := u.process("opensc-pkcs11"), wish("x", blob)
	text, err := json.Marshal(body)
	if err != nil {
		u.t.Fatal(err)
	}
	conn := u.mustDial(u.p, "tcp4", u.at)
	said := make(chan answer, 1)
	go func() {
		a, _ := exchange(conn, request("POST", u.at, "/v3/modules/opensc/apps/token/readers/"+l.id+"/sign", string(text), "Content-Type: application/json"))
		said <- a
	}()
	if err := heard.signature(); err != nil {
		u.t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		u.t.Fatal(err)
	}
	a := <-said
	u.until("its end", func() bool { return stage.Ended(pid) })
	if got := cardbroker.Reason(a.reason()); got != cardbroker.Indeterminate {
		u.t.Errorf("a signature whose module is killed is answered %d %s", a.Status, a.Body)
	}
	if n := heard.rest(); n > 0 {
		u.t.Errorf("the card was told to sign %d times more", n)
	}
	u.answers(u.p, "echo "+u.pin) // the PIN may have been wrong: the user is asked
	l.signs("again", "sign", wish("again", u.pkcs1(u.pin)))
}

// keeps: the next agent knows the certificates of the card, from the disk.
func (u *holder) keeps(l place) {
	u.t.Helper()
	var before, after api.AllCertificates
	l.does("", "cert-list", nil, &before)
	var kept api.Cache
	u.call(program, "", "GET", "/cb/v1/cache", nil, &kept)
	if kept.Certificates != "disk" || kept.Files != 1 {
		u.t.Errorf("the cache is %+v, want a file", kept)
	}
	u.service.Kill()
	u.logOn()
	l = u.inReader(cardPage)
	l.does("", "cert-list", nil, &after)
	if after.Authentication == nil || len(after.Authentication.Certificates) != len(before.Authentication.Certificates) {
		u.t.Errorf("after the restart the certificates are %+v, want %+v", after, before)
	}
	u.call(program, "", "GET", "/cb/v1/cache", nil, &kept)
	if kept.Files != 1 || kept.Memory != 1 {
		u.t.Errorf("after the restart the cache is %+v, want the file that was there", kept)
	}
}

// listener hears what a card is told, by its copies.
type listener struct{ pipe *os.File }

// next returns the instruction of the next command that comes in time, ISO/IEC 7816-4 §5.1.
func (l listener) next(within time.Duration) (ins byte, err error) {
	l.pipe.SetReadDeadline(time.Now().Add(within))
	var size [2]byte
	if _, err := io.ReadFull(l.pipe, size[:]); err != nil {
		return 0, err
	}
	command := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err = io.ReadFull(l.pipe, command)
	return command[1], err
}

// generalAuthenticate is the instruction by which a PIV card signs, SP 800-73-4 Part 2 §3.2.4.
const generalAuthenticate = 0x87

// signature waits until the card is told to sign.
func (l listener) signature() error {
	for {
		if ins, err := l.next(limit / 4); err != nil || ins == generalAuthenticate {
			return err
		}
	}
}

// rest counts how often the card was told so in what has come.
func (l listener) rest() (n int) {
	for {
		ins, err := l.next(100 * time.Millisecond)
		if err != nil {
			return n
		}
		if ins == generalAuthenticate {
			n++
		}
	}
}
