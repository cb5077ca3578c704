// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package bed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/cardbroker/cardbroker/test/stage"
)

const (
	// Port is the well-known one. It lies below those that clients get for their own ends, which Gossip's all lie above.
	Port = 24000

	firstUID = 64000 // nobody's: users here have no account
	perUser  = 16    // agents that a registry lets a user have
)

// alone says that this process is in a network of its own.
const alone = "CARDBROKER_TEST_ALONE"

// Alone runs this program again in a network namespace of its own, with the loopback interface alone, unless that has been
// done; then it returns true. Otherwise the program is to exit with the status.
func Alone() (status int, done bool) {
	if os.Getenv(alone) != "" {
		if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "ip link: %s\n", out)
			return 1, false
		}
		return 0, true
	}
	self, err := os.Executable()
	if err == nil {
		cmd := exec.Command(self, os.Args[1:]...)
		InNamespace(cmd)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		err = cmd.Run()
	}
	if ended, ok := errors.AsType[*exec.ExitError](err); ok {
		return ended.ExitCode(), false
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cannot run in a network of its own:", err)
		return 1, false
	}
	return 0, false
}

// InNamespace has a program that calls [Alone] start in a network of its own.
func InNamespace(cmd *exec.Cmd) {
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, alone+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
}

// Config says what a host it is.
type Config struct {
	Programs string // a directory with cardbroker and cardsandbox
	Actor    string // the program whose arguments say what it plays
	Users    int
}

// Bed is a host. Make it with [New], and strike it when done.
type Bed struct {
	*stage.Stage
	Agents []*Agent

	users []stage.Person
	extra []*exec.Cmd // actors that run
}

// New prepares a host on which nothing runs.
func New(ctx context.Context, cfg Config) (*Bed, error) {
	s, err := stage.New(ctx, map[string]string{
		"cardbroker":  filepath.Join(cfg.Programs, "cardbroker"),
		"cardsandbox": filepath.Join(cfg.Programs, "cardsandbox"),
		"actor":       cfg.Actor,
	})
	b := &Bed{Stage: s}
	if err != nil {
		return b, err
	}
	for i := range cfg.Users {
		uid := uint32(firstUID + i)
		user, err := s.Hire(fmt.Sprint("u", uid), uid)
		if err != nil {
			return b, err
		}
		b.users = append(b.users, user)
	}
	if err := os.Mkdir(s.Path("policy.d"), 0o755); err != nil {
		return b, err
	}
	for name, text := range map[string]string{
		"policy.d/election.yaml": "election: {scope: any_user}\n",
		"agent.yaml":             fmt.Sprintf("elect: {enabled: true, listen: \"127.0.0.1:%d\"}\n", Port),
	} {
		if err := os.WriteFile(s.Path(name), []byte(text), 0o644); err != nil {
			return b, err
		}
	}
	return b, nil
}

// Strike ends what runs, and returns what it could not.
func (b *Bed) Strike() []string {
	if b.Stage == nil {
		return nil
	}
	for _, a := range b.Agents {
		a.Kill()
	}
	for _, cmd := range b.extra {
		cmd.Process.Kill()
		cmd.Wait()
	}
	return b.Stage.Strike()
}

// Users returns the users' ids.
func (b *Bed) Users() []uint32 {
	var ids []uint32
	for _, user := range b.users {
		ids = append(ids, user.Cred.Uid)
	}
	return ids
}

// Owners returns the ids of the users that have agents.
func (b *Bed) Owners() []uint32 {
	var ids []uint32
	for _, a := range b.Agents {
		ids = append(ids, a.UID())
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
