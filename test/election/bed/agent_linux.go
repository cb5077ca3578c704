// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package bed

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cardbroker/cardbroker/test/stage"
)

const readyTimeout = 90 * time.Second

// Agent is an agent of a user in a session of its own. It keeps its session when it is started anew, not its port.
type Agent struct {
	Session string
	Port    int // where it serves; 0: not started, or not ready yet

	user stage.Person
	log  string
	runs atomic.Pointer[process] // nil: does not run
}

type process struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when the kernel says so
}

// UID is whose agent it is.
func (a *Agent) UID() uint32 { return a.user.Cred.Uid }

// PID is its process; 0: none.
func (a *Agent) PID() int {
	p := a.runs.Load()
	if p == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Start starts n agents, all at once, and waits until all are ready.
func (b *Bed) Start(n int) error { return b.Restart(b.Enlist(n)...) }

// Enlist has n more agents, whose users come by turns. None runs yet.
func (b *Bed) Enlist(n int) (fresh []*Agent) {
	for range n {
		i := len(b.Agents)
		a := &Agent{Session: fmt.Sprint("s", i), user: b.users[i%len(b.users)]}
		a.log = b.Path(fmt.Sprintf("agent-%s.log", a.Session))
		b.Agents, fresh = append(b.Agents, a), append(fresh, a)
	}
	return fresh
}

// Restart starts agents that do not run, all at once, and waits until they are ready.
func (b *Bed) Restart(agents ...*Agent) error {
	failed := make([]error, len(agents))
	var all sync.WaitGroup
	for i, a := range agents {
		all.Go(func() { failed[i] = b.run(a) })
	}
	all.Wait()
	return errors.Join(failed...)
}

func (b *Bed) run(a *Agent) error {
	log, err := os.OpenFile(a.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own
	cmd := b.Command(&a.user, "cardbroker", "agent", "run", "--elect", "--software-card", "--session", a.Session,
		"--config", b.Path("agent.yaml"), "--policy", b.Path("policy.d"), "--state", a.user.Home+"/state", "--socket", b.socket())
	cmd.Stderr = log
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	p := &process{cmd: cmd, exited: make(chan struct{})}
	a.Port = 0
	a.runs.Store(p)
	late := time.AfterFunc(readyTimeout, func() { cmd.Process.Kill() })
	defer late.Stop()
	lines := bufio.NewReader(out)
	text, err := lines.ReadBytes('\n')
	go func() {
		io.Copy(io.Discard, lines)
		cmd.Wait()
		close(p.exited)
	}()
	if err != nil {
		if !late.Stop() {
			return fmt.Errorf("agent %s, process %d, was not ready after %v", a.Session, cmd.Process.Pid, readyTimeout)
		}
		<-p.exited
		return fmt.Errorf("agent %s, process %d, has ended before it was ready: %v", a.Session, cmd.Process.Pid, cmd.ProcessState)
	}
	var ready stage.Ready
	err = json.Unmarshal(text, &ready)
	a.Port = ready.Port
	return err
}

// Kill ends an agent as kill -9 does. It returns once the process is gone.
func (a *Agent) Kill() { a.end(syscall.SIGKILL) }

// Stop ends an agent as its user would, and returns its exit status.
func (a *Agent) Stop() int { return a.end(syscall.SIGTERM) }

func (a *Agent) end(signal syscall.Signal) int {
	p := a.runs.Load()
	if p == nil {
		return 0
	}
	p.cmd.Process.Signal(signal)
	<-p.exited
	a.runs.Store(nil)
	return p.cmd.ProcessState.ExitCode()
}

// Signal sends an agent's process a signal.
func (a *Agent) Signal(signal syscall.Signal) { a.runs.Load().cmd.Process.Signal(signal) }
