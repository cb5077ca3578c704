// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package script_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/test/stage"
)

var update = flag.Bool("update", false, "write the golden texts in the scripts anew")

const (
	readyLimit = 20 * time.Second // from the start of a service to its ready line, on a busy machine
	stopLimit  = 5 * time.Second  // from SIGTERM to the end, as docs/contract.md promises
)

// programs is the directory of the programs under test.
var programs string

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("", "cardbroker-script-")
	if err == nil {
		err = os.Chmod(dir, 0o755) // other users run them, too
	}
	if err != nil {
		panic(err)
	}
	build := exec.Command("go", "build", "-trimpath", "-o", dir, "../../cmd/...")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("cannot build the programs: %s", out))
	}
	programs = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func TestScripts(t *testing.T) {
	testenv.Tool(t, "setpriv")
	testscript.Run(t, testscript.Params{
		Dir:           "testdata",
		UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", programs+":"+env.Getenv("PATH"))
			env.Setenv("LONG", "/"+strings.Repeat("x", 120)) // too long for a socket's path
			env.Values[servicesKey{}] = services{}
			for _, name := range []string{"door", "other"} {
				if err := stage.IssueDoor(filepath.Join(env.WorkDir, name+".pem"), filepath.Join(env.WorkDir, name+".key")); err != nil {
					return err
				}
			}
			return errors.Join(os.Chmod(env.WorkDir, 0o755), os.Chmod(filepath.Dir(env.WorkDir), 0o755)) // for other users
		},
		Condition: func(name string) (bool, error) {
			if name == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("there is no condition %s", name)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"await": await, "crash": crash, "ended": ended, "field": field, "finish": finish, "mode": mode, "start": start, "status": status,
		},
	})
}

// status N PROGRAM ARGS… runs a program, which must end with the exit status N.
func status(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		ended, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%s: %v", args[1], err)
		}
		got = ended.ExitCode()
	}
	if got != want {
		ts.Fatalf("%s ended with status %d, want %d", args[1], got, want)
	}
}

// field VARIABLE PATH reads one field of the JSON on the last standard output, such as readers.0.id.
func field(ts *testscript.TestScript, _ bool, args []string) {
	var value any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &value))
	for step := range strings.SplitSeq(args[1], ".") {
		switch at := value.(type) {
		case map[string]any:
			value = at[step]
		case []any:
			i, err := strconv.Atoi(step)
			ts.Check(err)
			if i >= len(at) {
				ts.Fatalf("%s: the list has %d elements", args[1], len(at))
			}
			value = at[i]
		}
	}
	if value == nil {
		ts.Fatalf("there is no field %s", args[1])
	}
	ts.Setenv(args[0], fmt.Sprint(value))
}

// mode MODE FILE checks the mode of a file, such as Srw-rw-rw-.
func mode(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := info.Mode().String(); got != args[0] {
		ts.Fatalf("%s has the mode %s, want %s", args[1], got, args[0])
	}
}

// services are the programs that run in the background, by name.
type services map[string]*service

type servicesKey struct{}

type service struct {
	cmd   *exec.Cmd
	out   *output // standard output
	err   *output // standard error
	ready *output // where the ready line goes
	ended chan struct{}
}

// output is what a program has written.
type output struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{} // closed at the next write
}

func newOutput() *output { return &output{changed: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.changed)
	o.changed = make(chan struct{})
	return o.text.Write(p)
}

func (o *output) read() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String(), o.changed
}

// start [-unready] [-fd] NAME PROGRAM ARGS… starts a service and waits for its ready line, which it leaves in the file
// NAME.ready and as standard output; with -fd the line comes on descriptor 3; with -unready nobody waits for it.
func start(ts *testscript.TestScript, _ bool, args []string) {
	unready, onFD := false, false
	for ; strings.HasPrefix(args[0], "-"); args = args[1:] {
		unready, onFD = unready || args[0] == "-unready", onFD || args[0] == "-fd"
	}
	name, args := args[0], args[1:]
	program, err := exec.LookPath(filepath.Join(programs, args[0]))
	ts.Check(err)
	s := &service{cmd: exec.Command(program, args[1:]...), out: newOutput(), err: newOutput(), ended: make(chan struct{})}
	s.cmd.Dir, s.cmd.Env = ts.Getenv("WORK"), []string{"HOME=" + ts.Getenv("WORK"), "PATH=/usr/bin:/bin"}
	s.cmd.Stdout, s.cmd.Stderr, s.ready = s.out, s.err, s.out
	var read sync.WaitGroup
	if onFD {
		s.ready = newOutput()
		from, to, err := os.Pipe()
		ts.Check(err)
		s.cmd.ExtraFiles = []*os.File{to}
		s.cmd.Args = append(s.cmd.Args, "--ready-fd", "3")
		defer to.Close()
		read.Go(func() { from.WriteTo(s.ready) })
	}
	ts.Check(s.cmd.Start())
	go func() {
		s.cmd.Wait()
		close(s.ended)
	}()
	ts.Defer(func() {
		s.cmd.Process.Kill()
		<-s.ended
		read.Wait()
	})
	ts.Value(servicesKey{}).(services)[name] = s
	if !unready {
		s.await(ts, s.ready, regexp.MustCompile("\n"))
		line, _ := s.ready.read()
		ts.Check(os.WriteFile(ts.MkAbs(name+".ready"), []byte(line), 0o600))
		ts.Stdout().Write([]byte(line))
	}
}

// await [-out] NAME PATTERN waits until a service has written a line to its log, or to its standard output.
func await(ts *testscript.TestScript, _ bool, args []string) {
	out := args[0] == "-out"
	if out {
		args = args[1:]
	}
	s := find(ts, args[0])
	written := s.err
	if out {
		written = s.out
	}
	s.await(ts, written, regexp.MustCompile(args[1]))
}

func (s *service) await(ts *testscript.TestScript, o *output, pattern *regexp.Regexp) {
	late, ended, over := time.After(readyLimit), s.ended, false
	for {
		text, changed := o.read()
		if pattern.MatchString(text) {
			return
		}
		if log, _ := s.err.read(); over {
			ts.Fatalf("it ended with %v before it said %q:\n%s", s.cmd.ProcessState, pattern, log)
		}
		select {
		case <-changed:
		case <-ended:
			ended, over = nil, true // what it has said last is still to be read
		case <-late:
			log, _ := s.err.read()
			ts.Fatalf("it has not said %q:\n%s", pattern, log)
		}
	}
}

// finish NAME sends SIGTERM: the service must end with status 0 within the limit, and leaves NAME.out and NAME.err.
func finish(ts *testscript.TestScript, _ bool, args []string) {
	s := find(ts, args[0])
	ts.Check(s.cmd.Process.Signal(syscall.SIGTERM))
	s.end(ts, args[0], stopLimit, 0)
}

// crash NAME kills a service.
func crash(ts *testscript.TestScript, _ bool, args []string) {
	s := find(ts, args[0])
	ts.Check(s.cmd.Process.Kill())
	s.end(ts, args[0], readyLimit, -1)
}

// ended NAME STATUS waits until a service has ended by itself with that status.
func ended(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	find(ts, args[0]).end(ts, args[0], readyLimit, want)
}

func (s *service) end(ts *testscript.TestScript, name string, limit time.Duration, want int) {
	delete(ts.Value(servicesKey{}).(services), name)
	select {
	case <-s.ended:
	case <-time.After(limit):
		log, _ := s.err.read()
		ts.Fatalf("%s has not ended after %v:\n%s", name, limit, log)
	}
	out, _ := s.out.read()
	log, _ := s.err.read()
	ts.Check(os.WriteFile(ts.MkAbs(name+".out"), []byte(out), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(name+".err"), []byte(log), 0o600))
	if got := s.cmd.ProcessState.ExitCode(); got != want {
		ts.Fatalf("%s ended with status %d, want %d:\n%s", name, got, want, log)
	}
}

func find(ts *testscript.TestScript, name string) *service {
	s := ts.Value(servicesKey{}).(services)[name]
	if s == nil {
		ts.Fatalf("no service %s runs", name)
	}
	return s
}
