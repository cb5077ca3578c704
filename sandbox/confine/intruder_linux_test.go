// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package confine_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cardbroker/cardbroker/sandbox/confine"
)

// scene is what the intruder finds. Whatever is not Inside is none of his business.
type scene struct {
	Confined bool   // by what Inside and Sockets say; else he is free, to show that an attempt can work
	Inside   string // a directory
	Outside  string // a directory: "file", "open.sock", and "shut.sock" which belongs to another user
	Sockets  string // a directory: "s.sock"
	TCP      string // address of a listener
	Abstract string // address of an abstract Unix socket
	Victim   int    // a process of the same user
	Lacks    []lack // what the kernel is to seem to lack
}

// lack is a system call that is answered with an error.
type lack struct{ Number, Errno uint32 }

// intrude is the main function of the intruder: it confines itself as cardsandbox does and tries all that it must not. It
// prints what came of each attempt: "done", or the kernel's word for no.
func intrude(text string) int {
	var s scene
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return fault(err)
	}
	results := make(map[string]string)
	if len(s.Lacks) > 0 {
		if err := age(s.Lacks); err != nil {
			return fault(err)
		}
	}
	if s.Confined {
		needs := confine.Needs{Write: []string{s.Inside}, Sockets: []string{s.Sockets}}
		if s.Sockets == "" {
			needs.Sockets = nil
		}
		state, err := confine.Enter(needs)
		if err != nil {
			return fault(err)
		}
		results["state"] = fmt.Sprintf("%d %v", state.Landlock, state.Seccomp)
	}
	for name, attempt := range s.attempts() {
		results[name] = outcome(attempt())
	}
	results["thread"] = s.onThreads()
	results["environment"] = strings.Join(os.Environ(), " ")
	out, err := json.Marshal(results)
	if err != nil {
		return fault(err)
	}
	fmt.Fprintln(os.Stdout, string(out))
	program, _ := os.Executable()
	err = syscall.Exec(program, []string{"intruder", "executed"}, nil) // prints "executed"
	fmt.Fprintln(os.Stdout, outcome(err))
	return 0
}

// age makes the kernel seem older than it is.
func age(lacks []lack) error {
	program := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}}
	for _, l := range lacks {
		program = append(program, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: l.Number},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | l.Errno})
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	return confine.Install(append(program, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}))
}

func fault(err error) int {
	fmt.Fprintln(os.Stderr, "intruder:", err)
	return 1
}

// outcome names what became of an attempt.
func outcome(err error) string {
	if err == nil {
		return "done"
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return unix.ErrnoName(errno)
	}
	return err.Error()
}

// attempts are the rows of the table, by name.
func (s scene) attempts() map[string]func() error {
	return map[string]func() error{
		"read /etc/shadow":       func() error { return read("/etc/shadow") },
		"read outside":           func() error { return read(filepath.Join(s.Outside, "file")) },
		"read status":            func() error { return read("/proc/self/status") },
		"list /root":             func() error { return list("/root") },
		"list outside":           func() error { return list(s.Outside) },
		"write outside":          func() error { return os.WriteFile(filepath.Join(s.Outside, "new"), nil, 0o600) },
		"truncate outside":       func() error { return os.Truncate(filepath.Join(s.Outside, "file"), 4) },
		"write inside":           func() error { return replace(s.Inside, s.Inside) },
		"move out":               func() error { return replace(s.Inside, s.Outside) },
		"link inside":            func() error { return os.Symlink("/", filepath.Join(s.Inside, "link")) },
		"TCP client":             func() error { return s.dial("tcp", s.TCP) },
		"TCP server":             func() error { return listen(false) },
		"TCP server, multipath":  func() error { return listen(true) },
		"UDP":                    func() error { return s.dial("udp", s.TCP) },
		"netlink":                netlink,
		"Unix socket":            func() error { return s.dial("unix", filepath.Join(s.Outside, "open.sock")) },
		"Unix socket, shut":      func() error { return s.dial("unix", filepath.Join(s.Outside, "shut.sock")) },
		"Unix socket, needed":    func() error { return s.dial("unix", filepath.Join(s.Sockets, "s.sock")) },
		"abstract Unix socket":   func() error { return s.dial("unix", s.Abstract) },
		"signal":                 func() error { return unix.Kill(s.Victim, 0) },
		"fork":                   fork,
		"trace":                  func() error { return unix.PtraceAttach(1 << 29) }, // there is no such process
		"clone3":                 func() error { return errnoOf(unix.SYS_CLONE3, 0) },
		"namespace":              func() error { return unix.Unshare(unix.CLONE_NEWUSER) }, // EINVAL: there are several threads
		"undumpable":             undumpable,
		"files, sizes and cores": limits,
	}
}

func read(name string) error {
	_, err := os.ReadFile(name)
	return err
}

func list(name string) error {
	_, err := os.ReadDir(name)
	return err
}

// replace makes a file as a store does: a new one, put in the place of the old, down to the disk.
func replace(from, to string) error {
	name := filepath.Join(from, "state.new")
	if err := os.WriteFile(name, []byte("state"), 0o600); err != nil {
		return err
	}
	if err := os.Rename(name, filepath.Join(to, "state")); err != nil {
		return err
	}
	d, err := os.Open(to)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func (s scene) dial(network, address string) error {
	conn, err := new(net.Dialer).DialContext(context.Background(), network, address)
	if err == nil {
		conn.Close()
	}
	return err
}

func listen(multipath bool) error {
	var lc net.ListenConfig
	lc.SetMultipathTCP(multipath)
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err == nil {
		l.Close()
	}
	return err
}

func netlink() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// fork starts this program again, which is no exec of our own.
func fork() error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	pid, err := syscall.ForkExec(program, []string{"intruder", "executed"}, nil)
	if err == nil {
		_, err = unix.Wait4(pid, nil, 0, nil)
	}
	return err
}

func errnoOf(number, argument uintptr) error {
	_, _, errno := unix.RawSyscall(number, argument, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func undumpable() error {
	if n, _, _ := unix.RawSyscall(unix.SYS_PRCTL, unix.PR_GET_DUMPABLE, 0, 0); n != 0 {
		return errors.New("dumpable")
	}
	return nil
}

func limits() error {
	var text []string
	for _, resource := range []int{unix.RLIMIT_NOFILE, unix.RLIMIT_FSIZE, unix.RLIMIT_CORE} {
		var limit unix.Rlimit
		if err := unix.Getrlimit(resource, &limit); err != nil {
			return err
		}
		text = append(text, fmt.Sprint(limit.Max))
	}
	return errors.New(strings.Join(text, " "))
}

// onThreads tries to read and to reach the network on many threads at once: more than there were.
func (s scene) onThreads() string {
	const count = 30
	var working, here sync.WaitGroup
	here.Add(count)
	outcomes := make([]string, count)
	for n := range count {
		working.Go(func() {
			runtime.LockOSThread() // and the thread ends with it
			here.Done()
			here.Wait()
			outcomes[n] = outcome(read(filepath.Join(s.Outside, "file"))) + " " + outcome(netlink())
		})
	}
	working.Wait()
	for _, o := range outcomes {
		if o != outcomes[0] {
			return fmt.Sprint("not the same on all threads: ", outcomes)
		}
	}
	return outcomes[0]
}
