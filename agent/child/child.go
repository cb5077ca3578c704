// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package child is what the agent's supervisors have in common: it starts a process of cardsandbox, talks to it over inherited
// streams, takes its last words, ends it, and says when the next one may start.
//
// It owns no state: a [Process] belongs to whom it was told to, a [Line] to one asker at a time, and a [Life] to the loop of
// its supervisor. What the streams carry is the supervisors' business.
package child

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"sync/atomic"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// Config says what to start.
type Config struct {
	Program string       // path of cardsandbox; it and its directories writable by root and our own user only
	Args    []string     // what cardsandbox serves
	Env     []string     // its whole environment, NAME=value each
	Log     *slog.Logger // its lines on standard error, too
}

// Process is one process of cardsandbox.
type Process struct {
	Lines   [wire.Streams]*Line // the first is control, and its end is the process's
	Started time.Time
	Uses    int // what keeps it from being idle; of the loop of its [Life]

	cmd    *exec.Cmd
	stderr *lines
	ended  chan struct{}              // closed when the process has ended
	killed atomic.Pointer[string]     // why we killed it
	ending atomic.Pointer[time.Timer] // kills it if it does not end when it is told to
}

// Exit is how a process ended.
type Exit struct {
	Why    string // for the log and for who looks after the module: it may name files, and has what the process said last
	Age    time.Duration
	Killed bool // by us, for misbehaviour
}

// stopLimit is the time from the end of the control stream to the end of the process, which waits for calls to cards until then, and has
// a module finalised.
const stopLimit = 2 * time.Second

// Attend starts a process, hands it to serve, and waits for its end, which it brings about when ctx ends. serve may return at
// any time: what it returns, if it is no nil, ends the process as [Process.Fail] does.
func Attend(ctx context.Context, cfg Config, serve func(*Process) error) Exit {
	p, err := start(cfg)
	if err != nil {
		cfg.Log.Error("cannot start the sandbox", "err", err)
		return Exit{Why: message(err)}
	}
	cfg.Log.Info("sandbox started", "pid", p.PID(), "dur", time.Since(p.Started))
	unwatch := context.AfterFunc(ctx, p.Stop)
	defer unwatch()
	if err := serve(p); err != nil {
		p.Fail(err)
	}
	e := p.wait()
	cfg.Log.Info("sandbox ended", "pid", p.PID(), "status", e.Why, "dur", e.Age)
	return e
}

// message returns what of err is safe to show.
func message(err error) string {
	if e, ok := errors.AsType[*cardbroker.Error](err); ok {
		return e.Message
	}
	return "internal error"
}

// PID returns the process's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Kill ends the process now. why is safe to show; the first one counts.
func (p *Process) Kill(why string) {
	if p.killed.CompareAndSwap(nil, &why) {
		p.cmd.Process.Kill() // fails only when it is gone
	}
}

// Stop tells the process to end, by the end of its control stream; it is killed if it does not.
func (p *Process) Stop() {
	p.Lines[0].Close()
	timer := time.AfterFunc(stopLimit, func() { p.Kill("it did not end when it was told to") })
	if !p.ending.CompareAndSwap(nil, timer) {
		timer.Stop()
	}
}

// Fail ends the process after an error on one of its streams: it is killed if it hangs or does not keep to the protocol.
// After anything else it has ended, or has been told to.
func (p *Process) Fail(err error) {
	if IsTimeout(err) {
		p.Kill("it did not answer in time")
	} else if broken, ok := errors.AsType[*cardbroker.Error](err); ok {
		p.Kill(broken.Message)
	} else {
		p.Stop()
	}
}

// IsTimeout says whether a wait on a stream has ended by its deadline.
func IsTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// wait waits for the end of the process, and frees what it had.
func (p *Process) wait() Exit {
	p.cmd.Wait() // its error says what ProcessState says
	if timer := p.ending.Swap(new(time.Timer)); timer != nil {
		timer.Stop()
	}
	p.closeLines()
	close(p.ended)
	e := Exit{Why: p.cmd.ProcessState.String(), Age: time.Since(p.Started)}
	if why := p.killed.Load(); why != nil {
		e.Why, e.Killed = "killed: "+*why, true
	}
	if last := p.stderr.last(); last != "" {
		e.Why = fmt.Sprintf("%s (%s)", e.Why, last)
	}
	return e
}

// closeLines closes our ends, as far as they were made.
func (p *Process) closeLines() {
	for _, l := range p.Lines {
		if l != nil {
			l.Close()
		}
	}
}
