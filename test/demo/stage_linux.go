// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

const (
	readyTimeout = 20 * time.Second
	stopTimeout  = 6 * time.Second // a service promises 5
)

// stage is where the demo plays: a directory of its own, the users, and the services that run.
type stage struct {
	ctx      context.Context
	dir      string
	users    []person // alice; bob too, if we are root
	services []*service
	made     []string // accounts to be removed
}

// person is a user of the host.
type person struct {
	name string
	cred *syscall.Credential // nil: ourselves
	home string
}

// newStage makes the directory, copies the programs to where every user can run them, and makes the users.
func newStage(ctx context.Context) (*stage, error) {
	dir, err := os.MkdirTemp("", "cardbroker-demo-")
	if err != nil {
		return nil, err
	}
	s := &stage{ctx: ctx, dir: dir}
	if err := s.build(); err != nil {
		return s, err
	}
	return s, s.cast()
}

func (s *stage) build() error {
	if err := os.Chmod(s.dir, 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(s.path("bin"), 0o755); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for name, from := range map[string]string{
		"cardbroker":  "build/cardbroker",
		"cardsandbox": "build/cardsandbox",
		"actor":       self,
	} {
		program, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := os.WriteFile(s.path("bin", name), program, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// cast makes two OS users as root; otherwise we play alice ourselves.
func (s *stage) cast() error {
	if os.Geteuid() != 0 {
		return s.house(person{name: "alice"})
	}
	for _, name := range []string{"alice", "bob"} {
		account := "cbdemo-" + name
		if _, err := user.Lookup(account); err != nil {
			if out, err := exec.Command("useradd", "--no-create-home", "--shell", "/usr/sbin/nologin", account).CombinedOutput(); err != nil {
				return fmt.Errorf("useradd %s: %s", account, out)
			}
		}
		s.made = append(s.made, account)
		u, err := user.Lookup(account)
		if err != nil {
			return err
		}
		uid, _ := strconv.ParseUint(u.Uid, 10, 32)
		gid, _ := strconv.ParseUint(u.Gid, 10, 32)
		if err := s.house(person{name: name, cred: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}); err != nil {
			return err
		}
	}
	return nil
}

// house gives a user a private directory.
func (s *stage) house(p person) error {
	p.home = s.path(p.name)
	if err := os.Mkdir(p.home, 0o700); err != nil {
		return err
	}
	if p.cred != nil {
		if err := os.Chown(p.home, int(p.cred.Uid), int(p.cred.Gid)); err != nil {
			return err
		}
	}
	s.users = append(s.users, p)
	return nil
}

func (s *stage) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

// command is one of the stage's programs, run by a user; p nil: by us.
func (s *stage) command(p *person, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(s.ctx, s.path("bin", program), args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	if p != nil {
		cmd.Env = append(cmd.Env, "HOME="+p.home)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.cred}
	}
	return cmd
}

// outcome is how a program ended.
type outcome struct {
	status         int
	stdout, stderr []byte
}

// run runs a program to its end.
func (s *stage) run(p *person, program string, args ...string) (outcome, error) {
	cmd := s.command(p, program, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		return outcome{}, err
	}
	return outcome{status: cmd.ProcessState.ExitCode(), stdout: stdout.Bytes(), stderr: stderr.Bytes()}, nil
}

// service is a program that runs until it is stopped.
type service struct {
	cmd   *exec.Cmd
	log   *os.File
	lines *bufio.Reader // its standard output
	pipe  io.Closer
}

// ready is the line that a service prints when it is ready.
type ready struct {
	PID     int      `json:"pid"`
	Listen  []string `json:"listen"`
	Backend string   `json:"backend"`
	Session string   `json:"session"`
	Port    int      `json:"port"`
}

// start starts a service and waits for its ready line.
func (s *stage) start(p *person, name string, args ...string) (*service, ready, error) {
	var line ready
	log, err := os.Create(s.path(name + ".log"))
	if err != nil {
		return nil, line, err
	}
	cmd := s.command(p, "cardbroker", args...)
	cmd.Stderr = log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopTimeout
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, line, err
	}
	if err := cmd.Start(); err != nil {
		return nil, line, err
	}
	v := &service{cmd: cmd, log: log, lines: bufio.NewReader(out), pipe: out}
	s.services = append(s.services, v)
	late := time.AfterFunc(readyTimeout, func() { out.Close() })
	defer late.Stop()
	text, err := v.lines.ReadBytes('\n')
	if err != nil {
		said, _ := os.ReadFile(log.Name())
		return v, line, fmt.Errorf("%s was not ready: %s", name, said)
	}
	return v, line, json.Unmarshal(text, &line)
}

// kill ends a service at once, as a crash would.
func (v *service) kill() {
	v.cmd.Process.Kill()
	v.cmd.Wait()
	v.log.Close()
	v.cmd = nil
}

// stop ends a service as an administrator would, and says what was wrong with that.
func (v *service) stop() error {
	if v.cmd == nil {
		return nil
	}
	defer v.log.Close()
	v.cmd.Process.Signal(syscall.SIGTERM)
	late := time.AfterFunc(stopTimeout, func() { v.cmd.Process.Kill() })
	err := v.cmd.Wait()
	if !late.Stop() {
		return fmt.Errorf("%s did not stop in time", v.log.Name())
	}
	return err
}

// strike stops what runs, the last first, removes users and files, and returns what it could not.
func (s *stage) strike() (problems []string) {
	note := func(err error) {
		if err != nil {
			problems = append(problems, err.Error())
		}
	}
	for i := len(s.services) - 1; i >= 0; i-- {
		note(s.services[i].stop())
	}
	for _, account := range s.made {
		if out, err := exec.Command("userdel", account).CombinedOutput(); err != nil {
			note(fmt.Errorf("userdel %s: %s", account, out))
		}
	}
	note(os.RemoveAll(s.dir))
	return problems
}
