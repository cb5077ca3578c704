// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package stage

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
	readyTimeout = 90 * time.Second // it ends what hangs
	stopTimeout  = 20 * time.Second // a service ends by itself after 5, and says so by its status

	dirPrefix = "cardbroker-stage-" // digits follow
	maxTemp   = 20                  // a longer TMPDIR leaves no room for the paths of sockets, which have 107 bytes, unix(7)
)

// Stage is a directory, the users who play in it, and the services that run. Strike it when done.
type Stage struct {
	Users []Person // as root two of them, with accounts of their own; else ourselves

	ctx      context.Context
	dir      string
	services []*Service
	made     []string // accounts to be removed
	reserved []int    // sockets that keep ports
}

// Person is a user of the host.
type Person struct {
	Name string
	Home string              // a private directory
	Cred *syscall.Credential // nil: ourselves

	Cgroup *os.File // a directory of cgroup v2 that his programs are started in; nil: ours
	Env    []string // more of the environment
}

// New makes the directory, copies the programs there, so that every user can run them, and makes the users. programs maps
// the names on stage to files. ctx ends everything. The stage is to be struck even if New fails.
func New(ctx context.Context, programs map[string]string) (*Stage, error) {
	syscall.Umask(0o022) // of this process: what is put on stage is as open to the users as it says
	temp := os.TempDir()
	if len(temp) > maxTemp {
		temp = "/tmp"
	}
	dir, err := os.MkdirTemp(temp, dirPrefix)
	if err != nil {
		return nil, err
	}
	s := &Stage{ctx: ctx, dir: dir}
	if err := s.copyPrograms(programs); err != nil {
		return s, err
	}
	return s, s.cast("alice", "bob")
}

func (s *Stage) copyPrograms(programs map[string]string) error {
	if err := os.Chmod(s.dir, 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(s.Path("bin"), 0o755); err != nil {
		return err
	}
	for name, from := range programs {
		program, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := os.WriteFile(s.Path("bin", name), program, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// cast makes an account for each name as root; otherwise we play the first ourselves.
func (s *Stage) cast(names ...string) error {
	if os.Geteuid() != 0 {
		return s.house(Person{Name: names[0]})
	}
	for _, name := range names {
		account := "cb" + filepath.Base(s.dir)[len(dirPrefix):] + "-" + name // there are several stages at a time
		if out, err := exec.Command("useradd", "--no-create-home", "--shell", "/usr/sbin/nologin", account).CombinedOutput(); err != nil {
			return fmt.Errorf("useradd %s: %s", account, out)
		}
		s.made = append(s.made, account)
		u, err := user.Lookup(account)
		if err != nil {
			return err
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return err
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return err
		}
		if err := s.house(Person{Name: name, Cred: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}); err != nil {
			return err
		}
	}
	return nil
}

// house gives a user a private directory.
func (s *Stage) house(p Person) error {
	p.Home = s.Path(p.Name)
	if err := os.Mkdir(p.Home, 0o700); err != nil {
		return err
	}
	if p.Cred != nil {
		if err := os.Chown(p.Home, int(p.Cred.Uid), int(p.Cred.Gid)); err != nil {
			return err
		}
	}
	s.Users = append(s.Users, p)
	return nil
}

// Path returns the path of a file on stage.
func (s *Stage) Path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

// Context ends when the stage's time is over.
func (s *Stage) Context() context.Context { return s.ctx }

// Command is one of the stage's programs, run by a user; p nil: by us.
func (s *Stage) Command(p *Person, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(s.ctx, s.Path("bin", program), args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=/usr/bin:/bin", "GORACE=" + os.Getenv("GORACE")} // of actors that are tests
	if p != nil {
		cmd.Env = append(cmd.Env, "HOME="+p.Home)
		cmd.Env = append(cmd.Env, p.Env...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.Cred}
		if p.Cgroup != nil {
			cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(p.Cgroup.Fd())
		}
	}
	return cmd
}

// Outcome is how a program ended.
type Outcome struct {
	Status         int
	Stdout, Stderr []byte
}

// Run runs a program to its end. An exit status is no error.
func (s *Stage) Run(p *Person, program string, args ...string) (Outcome, error) {
	cmd := s.Command(p, program, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		return Outcome{}, err
	}
	return Outcome{Status: cmd.ProcessState.ExitCode(), Stdout: stdout.Bytes(), Stderr: stderr.Bytes()}, nil
}

// Service is a program that runs until it is stopped.
type Service struct {
	cmd   *exec.Cmd
	log   *os.File
	lines *bufio.Reader // its standard output
	pipe  io.Closer
}

// Ready is the line that a service prints when it is ready.
type Ready struct {
	PID     int      `json:"pid"`
	Listen  []string `json:"listen"`
	Fixed   []string `json:"fixed"`
	Metrics []string `json:"metrics"`
	Backend string   `json:"backend"`
	Session string   `json:"session"`
	Readers []string `json:"readers"`
	Port    int      `json:"port"`
	Socket  string   `json:"socket"`
}

// Start starts cardbroker as a service and waits for its ready line. Its log is the file name.log on stage.
func (s *Stage) Start(p *Person, name string, args ...string) (*Service, Ready, error) {
	var line Ready
	log, err := os.Create(s.Path(name + ".log"))
	if err != nil {
		return nil, line, err
	}
	cmd := s.Command(p, "cardbroker", args...)
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
	v := &Service{cmd: cmd, log: log, lines: bufio.NewReader(out), pipe: out}
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

// Kill ends a service at once, as a crash would.
func (v *Service) Kill() {
	v.cmd.Process.Kill()
	v.cmd.Wait()
	v.log.Close()
	v.cmd = nil
}

// Wait waits until a service has ended by itself, and returns its exit status.
func (v *Service) Wait() int {
	cmd := v.cmd
	v.cmd = nil
	defer v.log.Close()
	cmd.Wait() // its error says what ProcessState says
	return cmd.ProcessState.ExitCode()
}

// Stop ends a service as an administrator would, and says what was wrong with that.
func (v *Service) Stop() error {
	if v.cmd == nil {
		return nil
	}
	cmd := v.cmd
	v.cmd = nil
	defer v.log.Close()
	cmd.Process.Signal(syscall.SIGTERM)
	late := time.AfterFunc(stopTimeout, func() { cmd.Process.Kill() })
	err := cmd.Wait()
	if !late.Stop() {
		return fmt.Errorf("%s did not stop in time", v.log.Name())
	}
	return err
}

// Strike stops what runs, the last first, removes users and files, and returns what it could not.
func (s *Stage) Strike() (problems []string) {
	note := func(err error) {
		if err != nil {
			problems = append(problems, err.Error())
		}
	}
	for i := len(s.services) - 1; i >= 0; i-- {
		note(s.services[i].Stop())
	}
	for _, fd := range s.reserved {
		syscall.Close(fd)
	}
	for _, account := range s.made {
		if out, err := exec.Command("userdel", account).CombinedOutput(); err != nil {
			note(fmt.Errorf("userdel %s: %s", account, out))
		}
	}
	note(os.RemoveAll(s.dir))
	return problems
}
