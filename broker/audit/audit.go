// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/run"
)

// Config says where the log is and what happens to it. Zero numbers have the values that stand beside them.
type Config struct {
	Dir       string             // is made, 0700, if it is not there
	KeepDays  int                // records that are older are cut off: 400
	MaxBytes  int64              // of all files; the oldest are cut off: 4 GiB
	FileBytes int64              // of a file: 64 MiB, and at most a sixteenth of MaxBytes
	Heads     Heads              // keeps the head elsewhere
	SystemLog func(string) error // writes a line to the system log; may take its time; nil: there is none
	Log       *slog.Logger
}

// Heads keeps the head of the log outside the log itself, so that a cut of its tail is found.
type Heads interface {
	// AuditHead returns what was kept last; the zero Anchor: nothing yet.
	AuditHead(ctx context.Context) (cardbroker.Anchor, error)
	// KeepAuditHead keeps a head in the place of the last.
	KeepAuditHead(ctx context.Context, head cardbroker.Anchor) error
}

func (c Config) withDefaults() Config {
	if c.KeepDays == 0 {
		c.KeepDays = 400
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 4 << 30
	}
	if c.FileBytes == 0 {
		c.FileBytes = min(64<<20, c.MaxBytes/16)
	}
	return c
}

// inboxSize is how many events may be on their way to the desk, which takes a million a second.
const inboxSize = 4096

// Log is an audit log that is being written. Make it with [Open].
type Log struct {
	cfg    Config
	lock   *os.File // held while the Log is open
	writer *writer
	teller *teller
	inbox  chan entry
	ended  chan struct{} // closed when Run returns

	lost   atomic.Uint64        // events that are not in the log, since the start
	missed atomic.Uint64        // those that found the inbox full and are not counted in lost yet
	disk   atomic.Pointer[disk] // as the writer says
	busy   atomic.Int64         // since when the writer waits for the disk, in Unix nanoseconds; 0: it does not
	damage string               // that was found at the start
}

// entry is an event on its way to the disk, or a question whether all before it is there.
type entry struct {
	record  Record
	user    cardbroker.UserID // whom it is about, if the record names one
	payer   payer             // in whose account it is
	flushed chan error        // capacity 1; nil: this is an event
}

// Open opens the log in cfg.Dir for writing, or makes it. It reads the last file: what a crash has torn is cut off, and what
// is not as it was left is never touched; the log says so in its next records and goes on. Errors: Conflict, another broker
// has it open; Invalid, the directory cannot be used.
func Open(ctx context.Context, cfg Config) (*Log, error) {
	cfg = cfg.withDefaults()
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	l := &Log{cfg: cfg, lock: lock, inbox: make(chan entry, inboxSize), ended: make(chan struct{}), teller: newTeller(cfg)}
	if l.writer, err = reopen(ctx, l); err != nil {
		lock.Close()
		return nil, cardbroker.Wrapf(err, cardbroker.Invalid, "cannot use the audit log in %s", cfg.Dir)
	}
	l.writer.publish(nil)
	return l, nil
}

// Record records what the broker saw, of the user and session of, or of itself if that is nil. It waits for nothing.
func (l *Log) Record(of *cardbroker.AgentKey, e cardbroker.Event) { l.put(newEntry(of, e, byBroker)) }

// Say records what an agent says of its own session; the broker knows by the kernel whose agent it is. What an agent may not
// say counts as lost. It waits for nothing.
func (l *Log) Say(of cardbroker.AgentKey, e api.Event) {
	said := newEntry(&of, e.Event, byAgent)
	if told := e.Time.UTC(); told.Sub(said.record.Time).Abs() > time.Second && told.Year() >= 0 && told.Year() <= 9999 {
		said.record.Told = &told
	}
	l.put(said)
}

func (l *Log) put(e entry) {
	select {
	case l.inbox <- e:
	default:
		l.missed.Add(1)
	}
}

// Flush waits until all that was recorded before is on the disk. Errors: Unavailable, it cannot be written, or the log has
// ended; those of ctx.
func (l *Log) Flush(ctx context.Context) error {
	e := entry{flushed: make(chan error, 1)}
	select {
	case l.inbox <- e:
	case <-l.ended:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-e.flushed:
		return err
	case <-l.ended:
		return cardbroker.Errorf(cardbroker.Unavailable, "the audit log is closed")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Run writes the log until ctx ends, and then what was recorded until that moment. It closes the log.
func (l *Log) Run(ctx context.Context) error {
	defer close(l.ended)
	defer l.lock.Close()
	tellers := run.New(context.WithoutCancel(ctx))
	tellers.Go("system log", l.teller.run)
	writers := run.New(context.WithoutCancel(ctx))
	writers.Go("writer", l.writer.run)
	newDesk(l).run(ctx)
	err := writers.Stop()
	tellers.Stop()
	return err
}

// Status says how the log is. It never waits.
func (l *Log) Status() api.AuditStatus {
	disk, told := l.disk.Load(), l.teller.last.Load()
	s := api.AuditStatus{
		Seq:       disk.head.Seq,
		Hash:      fmt.Sprintf("%x", disk.head.Hash),
		Written:   disk.at,
		Files:     disk.files,
		Bytes:     disk.bytes,
		Lost:      l.lost.Load() + l.missed.Load(),
		Kept:      disk.kept.Seq,
		Told:      told.at,
		TellError: text(told.err),
		Failing:   text(disk.err),
		Damage:    l.damage,
	}
	if since := l.busy.Load(); since != 0 {
		s.Stalled = time.Since(time.Unix(0, since)).Seconds()
	}
	s.FreeBytes, s.DiskBytes = diskSpace(l.cfg.Dir)
	return s
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
