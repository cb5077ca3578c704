// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// deadlines notes the write deadlines that reach a connection.
type deadlines struct {
	net.Conn
	set []time.Time
}

func (d *deadlines) SetWriteDeadline(t time.Time) error {
	d.set = append(d.set, t)
	return nil
}

func TestPatientMovesDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		below := &deadlines{}
		conn := newPatient(below)
		for _, step := range []struct {
			name  string
			pass  time.Duration // before the step
			until time.Duration // from then; 0: no deadline
			want  bool          // it reaches the connection
		}{
			{"none", 0, 0, true},
			{"the first", 0, writeTimeout, true},
			{"the same", 0, writeTimeout, false},
			{"a little later", writeTimeout/8 - 1, writeTimeout, false},
			{"later", 1, writeTimeout, true},
			{"earlier", 0, closeTimeout, true},
			{"later again", 0, writeTimeout, true},
			{"none again", 0, 0, true},
			{"another first", 0, writeTimeout, true},
		} {
			time.Sleep(step.pass)
			var until time.Time
			if step.until > 0 {
				until = time.Now().Add(step.until)
			}
			before := len(below.set)
			if err := conn.SetWriteDeadline(until); err != nil {
				t.Fatal(err)
			}
			if got := len(below.set) > before; got != step.want {
				t.Errorf("%s: reached the connection: %v, want %v", step.name, got, step.want)
			}
		}
	})
}

// A peer that takes nothing any more is cut off in time, also when the deadline was not set for this write.
func TestPatientEndsAWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		defer far.Close()
		conn := newPatient(near)
		write := func() error {
			conn.SetWriteDeadline(time.Now().Add(writeTimeout))
			_, err := conn.Write([]byte{1})
			return err
		}
		go io.ReadFull(far, make([]byte, 1))
		if err := write(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		start := time.Now()
		err := write()
		if took := time.Since(start); !errors.Is(err, os.ErrDeadlineExceeded) || took < writeTimeout*7/8 || took > writeTimeout {
			t.Errorf("Write = %v after %v, want a timeout after %v or a little less", err, took, writeTimeout)
		}
	})
}
