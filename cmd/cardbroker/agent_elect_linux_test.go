// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent"
	"github.com/cardbroker/cardbroker/agent/home"
	"github.com/cardbroker/cardbroker/client"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/peer"
	"github.com/cardbroker/cardbroker/internal/processors"
	owned "github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/internal/testenv"
)

// newOffice returns the office of an agent with the state directory.
func newOffice(t *testing.T, state string) *office {
	t.Helper()
	free, err := httpserver.ListenLoopback(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	closeAll(free)
	return &office{port: cardbroker.Port(free[0].Addr().(*net.TCPAddr).Port), ports: cardbroker.Ports{24800, 24801}, state: state, log: quiet}
}

// serveTerm takes office, has the leader asked, and ends the term.
func (o *office) serveTerm(t *testing.T, during func()) {
	t.Helper()
	term, err := o.take(t.Context())
	if err != nil {
		t.Fatalf("take = %v", err)
	}
	ctx, end := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- term(ctx) }()
	if err := client.AskHealth(t.Context(), o.port); err != nil {
		t.Errorf("the leader does not work: %v", err)
	}
	during()
	end()
	if err := <-done; err != nil {
		t.Errorf("the term has ended with %v", err)
	}
}

// TestOfficeHasAllProcessors: who leads works for all agents of the host, and has one processor again when somebody else leads.
func TestOfficeHasAllProcessors(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	runtime.SetDefaultGOMAXPROCS()
	all := runtime.GOMAXPROCS(0)
	t.Setenv("GOMAXPROCS", "1")
	o := newOffice(t, t.TempDir())
	o.few = processors.New()
	if is := runtime.GOMAXPROCS(0); is != 1 {
		t.Errorf("%d processors before the term, want 1", is)
	}
	o.serveTerm(t, func() {
		if is := runtime.GOMAXPROCS(0); is != all {
			t.Errorf("%d processors in office, want %d", is, all)
		}
	})
	if is := runtime.GOMAXPROCS(0); is != 1 {
		t.Errorf("%d processors after the term, want 1", is)
	}
}

// TestOfficeNeedsNoDisk takes office where nothing can be kept: with another host's agent of one home that leads there, in a home that
// cannot be written, and with something else in the place of the file.
func TestOfficeNeedsNoDisk(t *testing.T) {
	for name, spoil := range map[string]func(file string){
		"another leads elsewhere": func(file string) {
			lock, err := peer.Lock(file)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { lock.Close() })
		},
		"no directory": func(file string) {
			if err := os.Remove(filepath.Dir(file)); err != nil {
				t.Fatal(err)
			}
		},
		"a directory": func(file string) {
			if err := os.Mkdir(file, 0o700); err != nil {
				t.Fatal(err)
			}
		},
		"a link to another file": func(file string) {
			if err := os.Symlink("/etc/hostname", file); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir() + "/state"
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, home.ElectedFile)
			spoil(file)
			began := time.Now()
			newOffice(t, dir).serveTerm(t, func() {
				if pid, _ := peer.LockedBy("/etc/hostname"); pid != 0 {
					t.Error("the link's target is locked")
				}
			})
			if took := time.Since(began); took > time.Second {
				t.Errorf("the term took %v: who leads waits for a file", took)
			}
		})
	}
	dir := t.TempDir()
	newOffice(t, dir).serveTerm(t, func() {
		if pid, _ := peer.LockedBy(filepath.Join(dir, home.ElectedFile)); pid != os.Getpid() {
			t.Errorf("process %d seems to lead, want ours", pid)
		}
	})
}

// TestOfficeIsSeenLater takes office while who led before still has the file, although he has left the port: it told nobody, for all of
// its term, which process leads.
func TestOfficeIsSeenLater(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, home.ElectedFile)
	before, err := peer.Lock(file)
	if err != nil {
		t.Fatal(err)
	}
	newOffice(t, dir).serveTerm(t, func() {
		before.Close()
		tick, late := time.NewTicker(10*time.Millisecond), time.After(time.Minute)
		defer tick.Stop()
		for {
			if pid, _ := peer.LockedBy(file); pid == os.Getpid() {
				return
			}
			select {
			case <-tick.C:
			case <-late:
				t.Fatal("nobody seems to lead")
			}
		}
	})
	if pid, _ := peer.LockedBy(file); pid != 0 {
		t.Errorf("after the term process %d seems to lead", pid)
	}
}

// TestManyTerms: what an agent has led a hundred times has left no goroutine, no descriptor and no memory behind, although clients
// had connections to it that they had not said a request on.
func TestManyTerms(t *testing.T) {
	o := newOffice(t, t.TempDir())
	one := func(n int) {
		o.serveTerm(t, func() {
			if n%10 != 0 { // the end of the term waits a little for each
				return
			}
			conn, err := net.Dial("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(o.port))))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.Write([]byte("GET /local/v1/link HTTP/1.1\r\nHost: "))
		})
	}
	for n := range 5 {
		one(n)
	}
	goroutines, open, heap := footprint(t)
	for n := range 100 {
		one(n)
	}
	nowGoroutines, nowOpen, nowHeap := footprint(t)
	t.Logf("goroutines %d, %d; descriptors %d, %d; heap %d, %d KiB", goroutines, nowGoroutines, open, nowOpen, heap>>10, nowHeap>>10)
	if nowGoroutines > goroutines+5 || nowOpen > open+5 || nowHeap > heap+2<<20 {
		t.Error("terms leave something behind")
	}
}

// footprint is what the process has.
func footprint(t *testing.T) (goroutines, descriptors int, heap uint64) {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return runtime.NumGoroutine(), len(files), m.HeapAlloc
}

// TestNoPortLeft has somebody take all ports that clients of the host could ask from: the leader does not take that for a failure of its own.
func TestNoPortLeft(t *testing.T) {
	const inside = "CARDBROKER_TEST_NO_PORT"
	if os.Getenv(inside) == "" {
		testenv.Root(t)
		cmd := exec.Command(testenv.Tool(t, "unshare"), "--net", "sh", "-c",
			`ip link set lo up && echo 40000 40001 >/proc/sys/net/ipv4/ip_local_port_range && echo 0 >/proc/sys/net/ipv4/tcp_max_tw_buckets && exec "$0" -test.run='^TestNoPortLeft$'`, os.Args[0])
		cmd.Env = append(os.Environ(), inside+"=1", "GORACE=atexit_sleep_ms=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	o := &office{port: 51983, ports: cardbroker.Ports{24800}, state: t.TempDir(), log: quiet}
	o.serveTerm(t, func() {
		for _, port := range []cardbroker.Port{40000, 40001} {
			taken, err := httpserver.ListenLoopback(t.Context(), port)
			for try := 0; err != nil && try < 500 && owned.Pause(t.Context(), 10*time.Millisecond); try++ {
				taken, err = httpserver.ListenLoopback(t.Context(), port) // who asked for our health may still be closing
			}
			if err != nil {
				t.Fatal(err)
			}
			defer closeAll(taken)
		}
		if err := client.AskHealth(t.Context(), o.port); !errors.Is(err, syscall.EADDRNOTAVAIL) {
			t.Errorf("there are ports left: %v", err)
		}
		if err := o.healthy(t.Context()); err != nil {
			t.Errorf("healthy = %v", err)
		}
	})
	if err := o.healthy(t.Context()); err == nil {
		t.Error("nobody listens, and is healthy")
	}
}

// TestStandNamesItsPort has an agent stand where the others could not find it, or with no ports.
func TestStandNamesItsPort(t *testing.T) {
	for listen, want := range map[string]string{
		"127.0.0.1:0":   "want a port",
		"0.0.0.0:51983": "want 127.0.0.1:PORT",
		"51983":         "want 127.0.0.1:PORT",
	} {
		_, _, err := stand(t.Context(), agent.Config{State: t.TempDir(), Log: quiet}, config.Elect{Listen: listen, Ports: "24800"}, client.NewBroker(client.BrokerConfig{}))
		if cardbroker.ReasonOf(err) != cardbroker.Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("elect.listen %s: %v, want invalid: %s", listen, err, want)
		}
	}
	_, _, err := stand(t.Context(), agent.Config{State: t.TempDir(), Log: quiet}, config.Elect{Listen: "127.0.0.1:51983", Ports: "2-1"}, client.NewBroker(client.BrokerConfig{}))
	if cardbroker.ReasonOf(err) != cardbroker.Invalid || !strings.Contains(err.Error(), "elect.ports") {
		t.Errorf("elect.ports 2-1: %v", err)
	}
}
