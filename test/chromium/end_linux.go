// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package chromium

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxSaid is how much of the end of what a browser wrote is shown.
const maxSaid = 4000

// kill ends the browser and what it has started: a process group of their own.
func (b *Browser) kill() error { return syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL) }

// finish waits for the browser's end, makes it where it does not come, and says how it ended. What it has started ends with it: the
// group is killed while the browser's number is still its own, and all of it has let go of standard error when Wait returns.
func (b *Browser) finish() string {
	if b.ended == "" {
		late := time.AfterFunc(closeTimeout, func() { b.kill() })
		for unix.Waitid(unix.P_PID, b.cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
		}
		forced := !late.Stop()
		b.kill()
		b.cmd.Wait() // its error says what ProcessState says
		b.ended = b.cmd.ProcessState.String()
		if forced {
			b.ended = fmt.Sprintf("killed, as it did not end within %v of the end of its pipe", closeTimeout)
		}
		b.pipe.close()
		b.log.Close()
	}
	return b.ended
}

// said is the end of what the browser wrote, but for its complaints that nobody has a bus.
func (b *Browser) said() string {
	text, err := os.ReadFile(b.log.Name())
	if err != nil {
		return err.Error()
	}
	said := ""
	for line := range strings.Lines(string(text)) {
		if !strings.Contains(line, ":ERROR:dbus/") {
			said += line
		}
	}
	return cmp.Or(said[max(0, len(said)-maxSaid):], "nothing")
}

// why says of a call that failed what has become of the browser.
func (b *Browser) why(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w: the browser runs and does not answer; it has written: %s", err, b.said())
	case errors.Is(err, io.EOF), errors.Is(err, syscall.EPIPE), errors.Is(err, os.ErrClosed):
		over := ""
		if cause := context.Cause(b.ctx); cause != nil {
			over = " as its time was over (" + cause.Error() + ")"
		}
		return fmt.Errorf("%w: the browser has ended%s: %s; it has written: %s", err, over, b.finish(), b.said())
	}
	return err
}
