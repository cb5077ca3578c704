// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package httpserver_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/testenv"
)

// Two users of the host who need no account.
const (
	alice = 61001
	bob   = 61002
)

// play is what a process of this program does instead of the tests.
func play(part string) int {
	switch part {
	case "user":
		return playUser()
	case "panic":
		return playPanic()
	case "no ipv6":
		return playListen("/proc/sys/net/ipv6/conf/lo/disable_ipv6", "1")
	case "few ports":
		return playListen()
	}
	fmt.Fprintln(os.Stderr, "no such part:", part)
	return 2
}

// command is a process of this program that plays a part.
func command(part string, attr *syscall.SysProcAttr) *exec.Cmd {
	cmd := exec.Command(testenv.Self())
	cmd.Env = append(os.Environ(), partVariable+"="+part, "GORACE=atexit_sleep_ms=0")
	cmd.SysProcAttr = attr
	return cmd
}

// process is a process of some user, which does what it is told.
type process struct {
	t   *testing.T
	in  io.WriteCloser
	out *bufio.Reader
}

// start starts a process of a user.
func start(t *testing.T, uid uint32) *process {
	t.Helper()
	testenv.Root(t)
	cmd := command("user", &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}})
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	return &process{t: t, in: in, out: bufio.NewReader(out)}
}

// do has the process obey and returns its answer.
func (p *process) do(format string, args ...any) string {
	p.t.Helper()
	order := fmt.Sprintf(format, args...)
	fmt.Fprintln(p.in, order)
	line, err := p.out.ReadString('\n')
	if err != nil || strings.HasPrefix(line, "error") {
		p.t.Fatalf("%s: %s%v", order, line, err)
	}
	return strings.TrimSpace(line)
}

// send writes text to the process's connection.
func (p *process) send(text string) {
	p.t.Helper()
	p.do("send %s", base64.StdEncoding.EncodeToString([]byte(text)))
}

// ask sends a request and returns the answer.
func (p *process) ask(request string) answer {
	p.t.Helper()
	p.send(request)
	text, err := base64.StdEncoding.DecodeString(p.do("read"))
	if err != nil {
		p.t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	a, err := readAnswer(bufio.NewReader(strings.NewReader(string(text))), method)
	if err != nil {
		p.t.Fatalf("%.80q is answered %q: %v", request, text, err)
	}
	return a
}

// playUser obeys on standard input, one connection at a time:
//
//	dial FROM TO   the answer is the own address; FROM - is any
//	send BASE64 · read (to the end) · close · reset
//	hold N TO      open N connections more
//	drop N         close N of these
func playUser() int {
	var conn *net.TCPConn
	var held []net.Conn
	obey := func(words []string) (string, error) {
		switch words[0] {
		case "dial":
			dialer := net.Dialer{}
			if words[1] != "-" {
				dialer.LocalAddr = net.TCPAddrFromAddrPort(addrPort(words[1]))
			}
			c, err := dialer.Dial("tcp", words[2])
			if err != nil {
				return "", err
			}
			conn = c.(*net.TCPConn)
			return conn.LocalAddr().String(), nil
		case "send":
			text, err := base64.StdEncoding.DecodeString(strings.Join(words[1:], ""))
			if err == nil {
				_, err = conn.Write(text)
			}
			return "sent", err
		case "read":
			text, err := io.ReadAll(conn)
			return base64.StdEncoding.EncodeToString(text), err
		case "close":
			return "closed", conn.Close()
		case "reset":
			conn.SetLinger(0)
			return "reset", conn.Close()
		case "hold":
			var n int
			fmt.Sscan(words[1], &n)
			for range n {
				c, err := net.Dial("tcp", words[2])
				if err != nil {
					return "", err
				}
				held = append(held, c)
			}
			return fmt.Sprint(len(held)), nil
		case "drop":
			var n int
			fmt.Sscan(words[1], &n)
			for _, c := range held[:n] {
				c.Close()
			}
			held = held[n:]
			return fmt.Sprint(len(held)), nil
		}
		return "", fmt.Errorf("cannot %q", words)
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		said, err := obey(strings.Fields(in.Text()))
		if err != nil {
			said = "error " + err.Error()
		}
		fmt.Println(said)
	}
	return 0
}

// playPanic serves one request, whose handler panics.
func playPanic() int {
	cfg := config()
	cfg.Routes = []httpserver.Route{{Method: "GET", Path: "/self", Access: httpserver.Self, Handle: func(http.ResponseWriter, *http.Request) error {
		panic("its fault")
	}}}
	listener := newPipes()
	go func() {
		conn := listener.dial(1)
		io.WriteString(conn, get)
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			fmt.Println("it was answered")
		}
	}()
	fmt.Println(httpserver.New(cfg).Serve(context.Background(), httpserver.Listener{Listener: listener, Kind: pipeKind{}}))
	return 0
}

// playListen listens eight times in a network namespace of 64 ports, with further settings. Somebody has every other
// pair of them on [::1], if there is IPv6.
func playListen(settings ...string) int {
	err := loopbackUp()
	settings = append(settings, "/proc/sys/net/ipv4/ip_local_port_range", "40000 40063")
	for i := 0; i < len(settings); i += 2 {
		err = errors.Join(err, os.WriteFile(settings[i], []byte(settings[i+1]), 0))
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	for port := 40000; port < 40064; port += 4 {
		for _, taken := range []int{port, port + 1} {
			if listener, err := httpserver.Listen(context.Background(), "tcp6", fmt.Sprintf("[::1]:%d", taken)); err == nil {
				defer listener.Close()
			}
		}
	}
	for range 8 {
		listeners, err := httpserver.ListenLoopback(context.Background(), 0)
		for _, listener := range listeners {
			host, _, _ := net.SplitHostPort(listener.Addr().String())
			fmt.Print(host, " ")
			listener.Close()
		}
		fmt.Println(err)
	}
	return 0
}

// loopbackUp sets the interface lo up, which a new network namespace has down.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}
