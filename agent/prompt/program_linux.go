// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package prompt

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// stopLimit is how long a program that was killed may take to end.
const stopLimit = time.Second

// runProgram runs a command that reads question, and returns how much of what it wrote is in answer, and its exit status;
// -1 if it was killed. It is killed, with all of its process group, when ctx ends or when answer is full. Nothing but the
// kernel's pipes and answer ever holds what it wrote.
func runProgram(ctx context.Context, command []string, question, answer []byte) (n, status int, err error) {
	stdin, asks, err := os.Pipe()
	if err != nil {
		return 0, 0, err
	}
	defer stdin.Close()
	_, err = asks.Write(question) // a pipe holds 64 KiB
	if err := errors.Join(err, asks.Close()); err != nil {
		return 0, 0, err
	}
	says, stdout, err := os.Pipe()
	if err != nil {
		return 0, 0, err
	}
	defer says.Close()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir = "/"
	cmd.Env = environment()
	cmd.Stdin, cmd.Stdout = stdin, stdout // standard error: nowhere
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	kill := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel = kill
	cmd.WaitDelay = stopLimit
	err = cmd.Start()
	stdout.Close() // else there is no end of what it says
	if err != nil {
		return 0, 0, err
	}
	stop := context.AfterFunc(ctx, func() { says.SetReadDeadline(time.Unix(1, 0)) }) // somebody may hold the pipe who left the group
	defer stop()
	for err == nil && n < len(answer) {
		var got int
		got, err = says.Read(answer[n:])
		n += got
	}
	if err == nil {
		kill()
	}
	cmd.Wait() // its error says what ProcessState says
	if err != nil && !errors.Is(err, io.EOF) && ctx.Err() == nil {
		return n, 0, err
	}
	return n, cmd.ProcessState.ExitCode(), nil
}

// environment is all that the program gets of ours: what it takes to find the user's display and speak his language.
func environment() []string {
	env := []string{"PATH=/usr/bin:/bin"}
	for _, name := range []string{
		"DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "HOME", "LANG", "WAYLAND_DISPLAY", "XAUTHORITY", "XDG_RUNTIME_DIR",
	} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}
