// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/apdu"
	"github.com/cardbroker/cardbroker/sandbox"
	"github.com/cardbroker/cardbroker/sandbox/softcard"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "vcard: %v\n", err)
		os.Exit(1)
	}
}

// The messages of one byte that vpcd sends; longer ones are commands for the card.
const (
	powerOff = 0
	powerOn  = 1
	reset    = 2
	askATR   = 4
)

const (
	dialLimit  = 10 * time.Second
	maxMessage = 0xFFFF
	maxATR     = 33
)

// vcard is the card, in its reader.
type vcard struct {
	conn *net.TCPConn
	card sandbox.Card
	atr  []byte
	tell bool // each command is told on standard output
	copy bool // and copied there, with its length before it, u16 big-endian
	seen bool // so is the reader's first sight of the card, which is yet to come

	delay time.Duration // that each command takes on its way
}

func run(args []string) error {
	v := &vcard{}
	args, mute, err := v.options(args)
	if err != nil {
		return err
	}
	if len(args) < 1 || len(args) > 2 {
		return errors.New("usage: vcard [mute] [tell | copy] [seen] [delay=TIME] [atr=HEX] ADDRESS [FILE]")
	}
	reader, err := softcard.New(strings.Join(args[1:], ""), slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		return err
	}
	if v.card, err = reader.Connect(softcard.Name, cardbroker.ShareExclusive); err != nil {
		return err
	}
	if v.atr == nil {
		v.atr = v.card.Info().ATR
	}
	if mute {
		v.atr = make([]byte, maxATR+1) // the reader sees a card, but cannot give it power
	}
	if v.conn, err = dial(args[0]); err != nil {
		return err
	}
	defer v.conn.Close()
	return v.serve()
}

// options reads what stands before the address.
func (v *vcard) options(args []string) (rest []string, mute bool, err error) {
	for i, arg := range args {
		if err != nil {
			break
		}
		atr, isATR := strings.CutPrefix(arg, "atr=")
		delay, isDelay := strings.CutPrefix(arg, "delay=")
		switch {
		case isDelay:
			v.delay, err = time.ParseDuration(delay)
		case isATR:
			v.atr, err = hex.DecodeString(atr)
		case arg == "mute":
			mute = true
		case arg == "tell":
			v.tell = true
		case arg == "copy":
			v.copy = true
		case arg == "seen":
			v.seen = true
		default:
			return args[i:], mute, err
		}
	}
	return nil, mute, err
}

// dial connects to the reader, which may not listen yet.
func dial(address string) (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dialLimit)
	defer cancel()
	var dialer net.Dialer
	dialer.SetMultipathTCP(false)
	for {
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.(*net.TCPConn), nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// serve answers the reader until it goes.
func (v *vcard) serve() error {
	var buf [2 + maxMessage]byte
	for {
		message, err := v.receive(buf[:])
		if errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) {
			return nil
		}
		if err != nil {
			return err
		}
		answer, err := v.answer(message)
		if err != nil {
			return err
		}
		if answer == nil {
			continue
		}
		frame := binary.BigEndian.AppendUint16(buf[:0], uint16(len(answer)))
		if _, err := v.conn.Write(append(frame, answer...)); err != nil {
			return err
		}
		if v.seen { // the first that is answered is a question for the ATR
			v.seen = false
			if _, err := os.Stdout.Write([]byte{'!'}); err != nil {
				return err
			}
		}
	}
}

// receive reads a message: a length of two bytes and that many more. vpcd sends the two apart, and waits for our kernel to
// acknowledge the first: that must not take the usual 40 ms.
func (v *vcard) receive(buf []byte) ([]byte, error) {
	if err := v.readFull(buf[:2]); err != nil {
		return nil, err
	}
	message := buf[2 : 2+int(binary.BigEndian.Uint16(buf))]
	return message, v.readFull(message)
}

func (v *vcard) readFull(p []byte) error {
	for len(p) > 0 {
		if err := v.acknowledge(); err != nil {
			return err
		}
		n, err := v.conn.Read(p)
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return v.acknowledge()
}

// acknowledge has what has come acknowledged at once. The kernel forgets that soon.
func (v *vcard) acknowledge() error {
	raw, err := v.conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1)
	})
	return errors.Join(err, failed)
}

// answer returns what the card answers, nil for nothing.
func (v *vcard) answer(message []byte) ([]byte, error) {
	switch {
	case len(message) == 1 && message[0] == askATR:
		return v.atr, nil
	case len(message) == 1 && (message[0] == powerOff || message[0] == powerOn || message[0] == reset):
		if err := v.card.Begin(); err != nil {
			return nil, err
		}
		return nil, v.card.End(cardbroker.ResetCard)
	case len(message) < apdu.MinCommand:
		return apdu.WrongLength.Append(nil), nil
	}
	if v.tell {
		if _, err := os.Stdout.Write([]byte{'.'}); err != nil {
			return nil, err
		}
	}
	if v.copy {
		if _, err := os.Stdout.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...)); err != nil {
			return nil, err
		}
	}
	if v.delay > 0 {
		<-time.After(v.delay)
	}
	answer, err := v.card.Transmit(nil, message)
	if len(answer) > maxMessage {
		answer = apdu.WrongLength.Append(nil)
	}
	return answer, err
}
