// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package browser

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/cardbroker/cardbroker/internal/testenv"
)

// packages is the folder of the tests' npm packages, in the namespaces for every user to read.
func packages(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(os.Getenv(programs), "t1csdk", name)
	if _, err := os.Stat(filepath.Join(os.Getenv(programs), "t1csdk", "node_modules")); err != nil {
		testenv.Skip(t, "needs the npm packages of test/t1csdk, which make deps installs")
	}
	return path
}

// page is a web page that runs scripts: a browser's, or one of jsdom.
type page interface {
	Load(url string) error
	Run(script string, value any) error
	Told() []string
}

// node is a page in a node process of the user's: of jsdom (test/t1csdk/page.mjs), or one that has only what node has (testdata/node.mjs).
type node struct {
	in    io.WriteCloser
	lines *bufio.Reader
	told  []string
}

// jsdom starts one of jsdom, until the test ends.
func (u *user) jsdom(url string) *node {
	u.h.t.Helper()
	return u.node(packages(u.h.t, "page.mjs"), url)
}

// node starts a program that is a page, until the test ends.
func (u *user) node(program, url string) *node {
	t := u.h.t
	t.Helper()
	cmd := exec.CommandContext(u.h.Context(), testenv.Tool(t, "node"), program)
	cmd.Dir, cmd.Env = u.Home, []string{"PATH=/usr/bin:/bin", "HOME=" + u.Home}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: u.Cred}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	p := &node{in: in, lines: bufio.NewReader(out)}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	if err := p.Load(url); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *node) Load(url string) error { return p.ask(map[string]string{"load": url}, nil) }

func (p *node) Run(script string, value any) error {
	return p.ask(map[string]string{"run": script}, value)
}

func (p *node) Told() []string {
	told := p.told
	p.told = nil
	return told
}

func (p *node) ask(question map[string]string, value any) error {
	text, err := json.Marshal(question)
	if err != nil {
		return err
	}
	if _, err := p.in.Write(append(text, '\n')); err != nil {
		return err
	}
	line, err := p.lines.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("node has ended: %w", err)
	}
	var answer struct {
		Value json.RawMessage
		Error string
		Told  []string
	}
	if err := json.Unmarshal(line, &answer); err != nil {
		return err
	}
	p.told = append(p.told, answer.Told...)
	if answer.Error != "" {
		return errors.New(answer.Error)
	}
	if value == nil || answer.Value == nil {
		return nil
	}
	return json.Unmarshal(answer.Value, value)
}
