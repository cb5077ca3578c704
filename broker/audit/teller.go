// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
)

// teller tells the system log of the head. It has a goroutine of its own: a system log may hang.
type teller struct {
	write func(string) error // nil: there is no system log
	log   *slog.Logger
	heads chan cardbroker.Anchor // capacity 1: the latest
	last  atomic.Pointer[told]
}

// told is what came of the last line.
type told struct {
	at  *time.Time // of the last that arrived; nil: none has
	err error
}

func newTeller(cfg Config) *teller {
	t := &teller{write: cfg.SystemLog, log: cfg.Log, heads: make(chan cardbroker.Anchor, 1)}
	t.last.Store(&told{})
	return t
}

// tell has a head told in the place of one that still waits. Only the writer calls it.
func (t *teller) tell(head cardbroker.Anchor) {
	select {
	case <-t.heads:
	default:
	}
	t.heads <- head // there is room: nobody else puts one
}

// run tells until ctx ends, and then of the head that waits.
func (t *teller) run(ctx context.Context) error {
	for {
		select {
		case head := <-t.heads:
			t.send(head)
		case <-ctx.Done():
			select {
			case head := <-t.heads:
				t.send(head)
			default:
			}
			return nil
		}
	}
}

func (t *teller) send(head cardbroker.Anchor) {
	if t.write == nil {
		return
	}
	now, last := time.Now(), *t.last.Load()
	if last.err = t.write(head.String()); last.err == nil {
		last.at = &now
	} else {
		t.log.Info("cannot tell the system log of the audit log's head", "err", last.err)
	}
	t.last.Store(&last)
}
