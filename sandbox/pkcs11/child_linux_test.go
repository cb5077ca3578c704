// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pkcs11_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/internal/token"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// folder is where TestMain builds what the tests of this package share.
const folderVariable = "CARDBROKER_PKCS11_TEST"

func folder(parts ...string) string {
	return filepath.Join(append([]string{os.Getenv(folderVariable)}, parts...)...)
}

// TestMain builds cardsandbox: without the race detector, which does not start under Landlock.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "cardbroker-pkcs11-")
	if err == nil {
		err = os.Setenv(folderVariable, dir)
	}
	if err == nil {
		build := exec.Command("go", "build", "-o", folder("cardsandbox"), "github.com/cardbroker/cardbroker/cmd/cardsandbox")
		build.Env = append(os.Environ(), "CGO_ENABLED=1")
		var out []byte
		if out, err = build.CombinedOutput(); err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
	}
	if err != nil {
		panic(err)
	}
	status := m.Run()
	os.RemoveAll(dir)
	os.Exit(status)
}

// child is cardsandbox with one library, and our ends of its streams.
type child struct {
	t       testing.TB
	cmd     *exec.Cmd
	streams [wire.Streams]*stream
	said    bytes.Buffer // read after the end only
	printed bytes.Buffer
	ended   chan error
}

// stream is one stream, which one question uses at a time.
type stream struct {
	*wire.Stream
	turn sync.Mutex
	seq  uint64
}

// askLimit is how long an answer may take in a test.
const askLimit = 20 * time.Second

// start starts cardsandbox for the time of the test.
func start(t testing.TB, library string, env ...string) *child {
	t.Helper()
	c := &child{t: t, ended: make(chan error, 1)}
	c.cmd = exec.Command(folder("cardsandbox"), "pkcs11", library)
	c.cmd.Env = env
	c.cmd.Stderr, c.cmd.Stdout = &c.said, &c.printed
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	c.cmd.WaitDelay = time.Second
	for n := range c.streams {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
		conn, err := net.FileConn(ours)
		if err != nil {
			t.Fatal(err)
		}
		ours.Close()
		c.streams[n] = &stream{Stream: wire.NewStream(conn)}
		c.cmd.ExtraFiles = append(c.cmd.ExtraFiles, theirs)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, theirs := range c.cmd.ExtraFiles {
		theirs.Close()
	}
	go func() { c.ended <- c.cmd.Wait() }()
	t.Cleanup(func() { c.stop() })
	return c
}

// stop ends the child as an agent does, and returns how it ended.
func (c *child) stop() error {
	for _, s := range c.streams {
		s.Close()
	}
	return c.wait()
}

// wait waits for the child's end, and returns how it ended.
func (c *child) wait() error {
	kill := time.AfterFunc(5*time.Second, func() { c.cmd.Process.Kill() })
	defer kill.Stop()
	err := <-c.ended
	c.ended <- err
	return err
}

// ask asks a question on a stream.
func (c *child) ask(n uint8, q token.Question, secrets ...string) (token.Answer, error) {
	s := c.streams[n]
	s.turn.Lock()
	defer s.turn.Unlock()
	s.seq++
	s.Conn().SetDeadline(time.Now().Add(askLimit))
	for _, secret := range secrets {
		if err := s.Send(wire.Header{Type: wire.TypeSecret, Seq: s.seq}, []byte(secret)); err != nil {
			return token.Answer{}, err
		}
	}
	text, err := json.Marshal(q)
	if err == nil {
		err = wire.SendFrames(s, wire.Header{Type: wire.TypeCall, Seq: s.seq}, text)
	}
	gathering := wire.Gathering{Max: token.MaxJSON}
	for err == nil {
		var h wire.Header
		var payload []byte
		if h, payload, err = s.Receive(); err != nil {
			break
		}
		whole := false
		if h, payload, whole, err = gathering.Gather(h, payload); err != nil || !whole {
			continue
		}
		if h.Seq != s.seq {
			return token.Answer{}, fmt.Errorf("an answer to %d, want %d", h.Seq, s.seq)
		}
		if h.Type == wire.TypeError {
			e, err := wire.ParseError(payload)
			return token.Answer{}, errors.Join(err, e)
		}
		var answer token.Answer
		return answer, json.Unmarshal(payload, &answer)
	}
	return token.Answer{}, err
}

// slot returns the slot whose token has the label.
func (c *child) slot(label string) token.Slot {
	c.t.Helper()
	answer, err := c.ask(0, token.Question{Call: token.CallSlots, Present: true})
	if err != nil {
		c.stop()
		c.t.Fatalf("slots: %v\n%s", err, c.said.String())
	}
	for _, slot := range answer.Slots {
		if slot.Token != nil && strings.HasPrefix(slot.Token.Label, label) {
			return slot
		}
	}
	c.t.Fatalf("no token is called %q: %+v", label, answer.Slots)
	return token.Slot{}
}

// want fails the test unless err has the reason.
func want(t testing.TB, what string, err error, reason cardbroker.Reason) {
	t.Helper()
	if got := cardbroker.ReasonOf(err); got != reason {
		t.Errorf("%s: %v, want the reason %q", what, err, reason)
	}
}

// need skips the test without a file.
func need(t testing.TB, pattern string) string {
	t.Helper()
	found, _ := filepath.Glob(pattern)
	if len(found) == 0 {
		testenv.Skip(t, "needs "+pattern)
	}
	return found[0]
}

// run runs a tool.
func run(t testing.TB, env []string, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, testenv.Tool(t, name), args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
