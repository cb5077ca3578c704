// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package consent

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// watch calls changed at once, and then whenever the file in the directory may have become another one, until ctx ends. It
// costs nothing while nothing happens. What it returns says why it cannot watch (any more).
func watch(ctx context.Context, dir string, changed func()) error {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return err
	}
	events := os.NewFile(uintptr(fd), "inotify") // which the runtime waits for, as it does for sockets
	defer events.Close()
	const mask = unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_CLOSE_WRITE | unix.IN_DELETE | unix.IN_ONLYDIR
	if _, err := unix.InotifyAddWatch(fd, dir, mask); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { events.Close() })
	defer stop()
	changed()
	buf := make([]byte, 4096)
	for {
		n, err := events.Read(buf)
		if err != nil {
			return err
		}
		concerned, gone := concerns(buf[:n])
		if concerned {
			changed()
		}
		if gone {
			return errors.New("the directory is gone")
		}
	}
}

// concerns says whether one of the events is about the file, or whether the directory is not watched any more.
func concerns(events []byte) (concerned, gone bool) {
	for len(events) >= unix.SizeofInotifyEvent { // inotify(7): wd, mask, cookie, len, name
		mask := binary.NativeEndian.Uint32(events[4:])
		size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(events[12:]))
		if size > len(events) {
			break
		}
		name := bytes.TrimRight(events[unix.SizeofInotifyEvent:size], "\x00")
		concerned = concerned || mask&unix.IN_Q_OVERFLOW != 0 || string(name) == fileName
		gone = gone || mask&unix.IN_IGNORED != 0
		events = events[size:]
	}
	return concerned, gone
}
