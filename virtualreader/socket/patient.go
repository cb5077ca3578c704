// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"bufio"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// patient is a connection whose write deadline is not moved for every message: gorilla sets it before each write, which
// costs more than to encrypt a small message.
type patient struct {
	net.Conn
	made  time.Time
	until atomic.Int64 // the write deadline that was set last, in nanoseconds since made; 0: none
}

func newPatient(conn net.Conn) *patient { return &patient{Conn: conn, made: time.Now()} }

// NetConn returns the connection that is patient.
func (p *patient) NetConn() net.Conn { return p.Conn }

// SetWriteDeadline moves the deadline to t, unless there is one that is at most an eighth of a write's time before t.
func (p *patient) SetWriteDeadline(t time.Time) error {
	before, until := p.until.Load(), int64(0)
	if !t.IsZero() {
		until = int64(t.Sub(p.made))
		if by := until - before; before != 0 && 0 <= by && by < int64(writeTimeout/8) {
			return nil
		}
	}
	p.until.Store(until)
	return p.Conn.SetWriteDeadline(t)
}

// patientWriter is a http.ResponseWriter whose connection is patient once it is hijacked.
type patientWriter struct{ http.ResponseWriter }

// Hijack implements [http.Hijacker].
func (w patientWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffers, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	return newPatient(conn), buffers, nil
}
