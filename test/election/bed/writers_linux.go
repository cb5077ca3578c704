// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package bed

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/cardbroker/cardbroker/test/election/actor"
	"github.com/cardbroker/cardbroker/test/stage"
)

// Writer is a process that takes ports and notes what was acknowledged.
type Writer struct {
	UID  uint32
	file string
}

// StartWriters starts n of them, each of another user.
func (b *Bed) StartWriters(n int) ([]Writer, error) {
	var writers []Writer
	for i := range n {
		user := b.users[i%len(b.users)]
		name := fmt.Sprint("note", i)
		w := Writer{UID: user.Cred.Uid, file: user.Home + "/" + name}
		if _, err := b.Play(&user, name, "writer", fmt.Sprint(Port), name, w.file, b.socket()); err != nil {
			return nil, err
		}
		writers = append(writers, w)
	}
	return writers, nil
}

// Play starts an actor as a user; nil: as root. Its standard output is the command's Stdout, if that was set by arrange.
func (b *Bed) Play(user *stage.Person, name string, args ...string) (*exec.Cmd, error) {
	cmd := b.Command(user, "actor", args...)
	return cmd, b.StartActor(cmd, name)
}

// StartActor starts what [stage.Stage.Command] has made.
func (b *Bed) StartActor(cmd *exec.Cmd, name string) error {
	log, err := os.Create(b.Path(name + ".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stderr = log
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if err := cmd.Start(); err != nil {
		return err
	}
	b.extra = append(b.extra, cmd)
	return nil
}

// Notes is what a writer has noted, by session.
type Notes struct {
	Held         map[string]int // the port of each session whose last word is acknowledged
	Acknowledged int            // how often
	Refused      []string       // lines: what was acknowledged once was lost
}

// Read reads what is there now.
func (w Writer) Read() (n Notes, err error) {
	text, err := os.ReadFile(w.file)
	if err != nil {
		return n, err
	}
	n.Held = make(map[string]int)
	for line := range strings.Lines(string(text)) {
		var what, session string
		var port int
		if _, err := fmt.Sscan(line, &what, &session, &port); err != nil || !strings.HasSuffix(line, "\n") {
			break // it is being written
		}
		switch what {
		case actor.Acknowledged:
			n.Held[session] = port
			n.Acknowledged++
		case actor.Refused:
			n.Refused = append(n.Refused, strings.TrimSpace(line))
			delete(n.Held, session)
		case actor.Released:
			delete(n.Held, session)
		}
	}
	return n, nil
}
