// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package peer_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/peer"
	"github.com/cardbroker/cardbroker/internal/testenv"
)

// Two users of the host who need no account.
var (
	alice = cardbroker.UserID{UID: 61001}
	bob   = cardbroker.UserID{UID: 61002}
)

// TestMain runs the tests, or one process of a user: see [start].
func TestMain(m *testing.M) {
	if os.Getenv("CARDBROKER_TEST_USER") == "" {
		os.Exit(m.Run())
	}
	u := &user{conns: map[string]net.Conn{}, listeners: map[string]net.Listener{}, kernel: peer.NewKernel()}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		answer, err := u.obey(strings.Fields(in.Text()))
		if err != nil {
			answer = "error " + strings.ReplaceAll(err.Error(), "\n", " ")
		}
		fmt.Println(answer)
	}
}

// process is a process of some user, which does what it is told on its standard input.
type process struct {
	t   testing.TB
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// start starts a process of a user, whose credentials and namespaces attr may choose.
func start(t testing.TB, user cardbroker.UserID, attr *syscall.SysProcAttr, files ...*os.File) *process {
	t.Helper()
	testenv.Root(t)
	if attr == nil {
		attr = &syscall.SysProcAttr{}
	}
	if attr.Credential == nil {
		attr.Credential = &syscall.Credential{Uid: user.UID, Gid: user.UID}
	}
	cmd := exec.Command(testenv.Self())
	cmd.Env = append(os.Environ(), "CARDBROKER_TEST_USER=1", "GORACE=atexit_sleep_ms=0")
	cmd.SysProcAttr = attr
	cmd.ExtraFiles = files
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
		if attr.Cloneflags != 0 {
			testenv.Skip(t, "needs namespaces: "+err.Error())
		}
		t.Fatal(err)
	}
	p := &process{t: t, cmd: cmd, in: in, out: bufio.NewReader(out)}
	t.Cleanup(p.end)
	return p
}

// end ends the process and waits until it has ended.
func (p *process) end() {
	p.in.Close()
	p.cmd.Wait()
}

// try has the process obey and returns its answer.
func (p *process) try(format string, args ...any) string {
	p.t.Helper()
	fmt.Fprintf(p.in, format+"\n", args...)
	line, err := p.out.ReadString('\n')
	if err != nil {
		p.t.Fatalf("the process ended at %q: %v", fmt.Sprintf(format, args...), err)
	}
	return strings.TrimSpace(line)
}

// do is try for what must succeed.
func (p *process) do(format string, args ...any) string {
	p.t.Helper()
	answer := p.try(format, args...)
	if strings.HasPrefix(answer, "error") {
		p.t.Fatalf("%s: %s", fmt.Sprintf(format, args...), answer)
	}
	return answer
}

// user is what a process has.
type user struct {
	conns     map[string]net.Conn
	listeners map[string]net.Listener
	kernel    *peer.Kernel
	kept      []net.Conn // by sink's goroutine
}

// obey does one thing:
//
//	dial NAME FROM TO [lo] [mptcp] [reuse]   connect; the answer is the own address; FROM - is any; TO may be a path
//	mapped NAME PORT                 connect to 127.0.0.1 with an IPv6 socket
//	listen NAME AT [lo] [mptcp] [v6only] [reuseport]
//	receive NAME AT [lo]             over UDP
//	accept LISTENER NAME · close NAME · reset NAME · send NAME WORD · fd NAME · sink AT
//	attest NAME · local NAME · server NAME UID · lookup CLIENT SERVER · listener PORT UID IPV6 · receiver PORT UID
//	setuid UID · up · noipv6         change the user; set lo up; switch IPv6 off
func (u *user) obey(words []string) (string, error) {
	arg := func(i int) string {
		if i < len(words) {
			return words[i]
		}
		return ""
	}
	switch arg(0) {
	case "dial":
		return u.dial(arg(1), arg(2), arg(3), words[4:])
	case "mapped":
		return u.dialMapped(arg(1), arg(2))
	case "listen":
		return u.listen(arg(1), arg(2), words[3:])
	case "receive":
		return u.receive(arg(1), arg(2), words[3:])
	case "accept":
		conn, err := u.listeners[arg(1)].Accept()
		u.conns[arg(2)] = conn
		return "accepted", err
	case "close":
		if l := u.listeners[arg(1)]; l != nil {
			return "closed", l.Close()
		}
		return "closed", u.conns[arg(1)].Close()
	case "reset":
		conn := u.conns[arg(1)].(*net.TCPConn)
		conn.SetLinger(0)
		return "reset", conn.Close()
	case "send":
		_, err := io.WriteString(u.conns[arg(1)], arg(2))
		return "sent", err
	case "fd":
		return u.fd(arg(1))
	case "sink":
		return u.sink(arg(1))
	case "attest":
		caller, err := u.kernel.Attest(u.conns[arg(1)].(*net.TCPConn))
		return verdict(caller, err), nil
	case "local":
		caller, err := peer.Local(u.conns[arg(1)].(*net.UnixConn))
		return verdict(caller, err), nil
	case "server":
		caller, err := peer.CheckServer(u.conns[arg(1)].(*net.UnixConn), userID(arg(2)))
		return verdict(caller, err), nil
	case "lookup":
		caller, err := u.kernel.Lookup(netip.MustParseAddrPort(arg(1)), netip.MustParseAddrPort(arg(2)))
		return verdict(caller, err), nil
	case "listener":
		port, _ := strconv.Atoi(arg(1))
		err := u.kernel.CheckListener(cardbroker.Port(port), userID(arg(2)), arg(3) == "true")
		return verdict(peer.Caller{User: userID(arg(2))}, err), nil
	case "receiver":
		port, _ := strconv.Atoi(arg(1))
		return verdict(peer.Caller{User: userID(arg(2))}, u.kernel.CheckReceiver(cardbroker.Port(port), userID(arg(2)))), nil
	case "setuid":
		return "changed", syscall.Setuid(int(userID(arg(1)).UID))
	case "up":
		return "up", loopbackUp()
	case "noipv6":
		return "off", os.WriteFile("/proc/sys/net/ipv6/conf/lo/disable_ipv6", []byte("1"), 0)
	}
	return "", fmt.Errorf("cannot %q", words)
}

// verdict is a caller's user, or the rule that refused.
func verdict(caller peer.Caller, err error) string {
	if err != nil {
		if rule := cardbroker.RuleOf(err); rule != "" {
			return string(rule)
		}
		return err.Error()
	}
	return caller.User.String()
}

func userID(s string) cardbroker.UserID {
	uid, _ := strconv.ParseUint(s, 10, 32)
	return cardbroker.UserID{UID: uint32(uid)}
}

func network(address string) string {
	switch {
	case strings.HasPrefix(address, "/"):
		return "unix"
	case strings.HasPrefix(address, "0.0.0.0:"):
		return "tcp4" // tcp would be both families
	}
	return "tcp"
}

func (u *user) dial(name, from, to string, options []string) (string, error) {
	d := net.Dialer{Control: socketOptions(options)}
	d.SetMultipathTCP(slices.Contains(options, "mptcp"))
	if from != "-" {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from))
	}
	conn, err := d.Dial(network(to), to)
	if err != nil {
		return "", err
	}
	u.conns[name] = conn
	return conn.LocalAddr().String(), nil
}

// dialMapped does what programs of other languages do by default; package net would open an IPv4 socket.
func (u *user) dialMapped(name, port string) (string, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	file := os.NewFile(uintptr(fd), name)
	defer file.Close()
	n, _ := strconv.Atoi(port)
	to := unix.SockaddrInet6{Port: n, Addr: netip.MustParseAddr("::ffff:127.0.0.1").As16()}
	if err := unix.Connect(fd, &to); err != nil {
		return "", err
	}
	conn, err := net.FileConn(file)
	if err != nil {
		return "", err
	}
	u.conns[name] = conn
	return conn.LocalAddr().String(), nil
}

func (u *user) listen(name, at string, options []string) (string, error) {
	var c net.ListenConfig
	c.Control = socketOptions(options)
	c.SetMultipathTCP(slices.Contains(options, "mptcp"))
	kind := network(at)
	if slices.Contains(options, "v6only") {
		kind = "tcp6"
	}
	listener, err := c.Listen(context.Background(), kind, at)
	if err != nil {
		return "", err
	}
	u.listeners[name] = listener
	return listener.Addr().String(), nil
}

func (u *user) receive(name, at string, options []string) (string, error) {
	c := net.ListenConfig{Control: socketOptions(options)}
	c.SetMultipathTCP(false)
	conn, err := c.ListenPacket(context.Background(), strings.Replace(network(at), "tcp", "udp", 1), at)
	if err != nil {
		return "", err
	}
	u.conns[name] = conn.(net.Conn)
	return conn.LocalAddr().String(), nil
}

// socketOptions sets options before bind: lo binds to the interface, which any user may.
func socketOptions(options []string) func(string, string, syscall.RawConn) error {
	return func(_, _ string, raw syscall.RawConn) (err error) {
		raw.Control(func(fd uintptr) {
			for _, o := range options {
				switch o {
				case "lo":
					err = unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "lo")
				case "reuse":
					err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
				case "reuseport":
					err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
				}
			}
		})
		return err
	}
}

func (u *user) fd(name string) (number string, err error) {
	raw, err := u.conns[name].(syscall.Conn).SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { number = strconv.Itoa(int(fd)) })
	}
	return number, err
}

// sink listens, and keeps every connection that comes.
func (u *user) sink(at string) (string, error) {
	address, err := u.listen("sink", at, nil)
	if err != nil {
		return "", err
	}
	listener := u.listeners["sink"]
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			u.kept = append(u.kept, conn)
		}
	}()
	return address, nil
}

// loopbackUp does what a new network namespace needs first.
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
