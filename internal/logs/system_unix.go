// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package logs

import (
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

// Where the system's log listens.
const (
	journalSocket = "/run/systemd/journal/socket"
	syslogSocket  = "/dev/log"
)

// writeLimit is how long one write may take: a journal that is stopped takes no datagrams for ever.
const writeLimit = 2 * time.Second

// System is the system's log: the journal of systemd where it runs, else syslog.
type System struct {
	name            string // of the program, as the log shows it
	journal, syslog string
}

// NewSystem returns the system's log for lines of the program of that name.
func NewSystem(name string) *System {
	return &System{name: name, journal: journalSocket, syslog: syslogSocket}
}

// Notice writes one line that an administrator should be able to find later, at priority notice. Errors: no log takes it
// within two seconds.
func (s *System) Notice(line string) error {
	err := send(s.journal, s.journalEntry(line))
	if err == nil {
		return nil
	}
	if other := send(s.syslog, s.syslogEntry(line)); other != nil {
		return fmt.Errorf("no system log takes it: %w; %w", err, other)
	}
	return nil
}

// journalEntry is a datagram of the journal's own protocol, https://systemd.io/JOURNAL_NATIVE_PROTOCOL: a line for each field.
func (s *System) journalEntry(line string) string {
	return fmt.Sprintf("MESSAGE=%s\nPRIORITY=5\nSYSLOG_FACILITY=3\nSYSLOG_IDENTIFIER=%s\n", oneLine(line), s.name)
}

// syslogEntry is a message as local syslogs take it, RFC 3164 §4.1 without the host: facility daemon, severity notice.
func (s *System) syslogEntry(line string) string {
	return fmt.Sprintf("<29>%s %s[%d]: %s", time.Now().Format(time.Stamp), s.name, os.Getpid(), oneLine(line))
}

// oneLine keeps a value from making lines of its own.
func oneLine(s string) string {
	return strings.NewReplacer("\n", " ", "\r", " ", "\x00", " ").Replace(s)
}

func send(path, datagram string) error {
	conn, err := net.Dial("unixgram", path)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetWriteDeadline(time.Now().Add(writeLimit))
	_, err = conn.Write([]byte(datagram))
	return err
}
