// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package logs

import "golang.org/x/sys/windows/svc/eventlog"

// eventNotice is the number of our events in the event log.
const eventNotice = 1

// System is the event log.
type System struct{ name string }

// NewSystem returns the event log for lines of the source of that name. The source need not be registered: then the event
// viewer shows the line after a remark that it does not know the source.
func NewSystem(name string) *System { return &System{name} }

// Notice writes one line that an administrator should be able to find later.
func (s *System) Notice(line string) error {
	source, err := eventlog.Open(s.name)
	if err != nil {
		return err
	}
	defer source.Close()
	return source.Info(eventNotice, line)
}
