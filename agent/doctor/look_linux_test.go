// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package doctor_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/doctor"
	"github.com/cardbroker/cardbroker/client"
	"github.com/cardbroker/cardbroker/internal/testenv"
)

// bed is a host of its own, on which nothing runs.
type bed struct {
	t   *testing.T
	env map[string]string
	cfg doctor.Config
}

func newBed(t *testing.T) *bed {
	t.Helper()
	dir := t.TempDir()
	b := &bed{t: t, env: map[string]string{}}
	socket := filepath.Join(dir, "broker.sock")
	b.cfg = doctor.Config{
		Root: dir, Home: filepath.Join(dir, "home"), Broker: client.NewBroker(client.BrokerConfig{Socket: socket}), Socket: socket, Port: 1, Session: "c2",
		State: filepath.Join(dir, "state"), Sandbox: "/bin/sh", PCSC: filepath.Join(dir, "pcscd.comm"), Software: "none",
		Missing: func(int, bool) string { return "" }, Getenv: func(name string) string { return b.env[name] },
	}
	return b
}

// write writes a file of the host's.
func (b *bed) write(name, text string) string {
	b.t.Helper()
	path := filepath.Join(b.cfg.Root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		b.t.Fatal(err)
	}
	return path
}

// says looks, and fails unless a check says so.
func (b *bed) says(id, status, text string) {
	b.t.Helper()
	d, _ := doctor.Look(b.t.Context(), b.cfg).Diagnose()
	for _, c := range d.Checks {
		if c.ID == id && c.Status == status && strings.Contains(c.Detail, text) {
			return
		}
	}
	b.t.Errorf("no check %s is %s with %q: %+v", id, status, text, d.Checks)
}

// TestProxies: the settings that could take this host to a proxy are found where they stand.
func TestProxies(t *testing.T) {
	b := newBed(t)
	b.says("proxy", "ok", "no proxy")
	b.env["http_proxy"] = "http://proxy.example:3128"
	b.says("proxy", "warn", "http_proxy")
	b.env["no_proxy"] = "example,localhost"
	b.says("proxy", "warn", "http_proxy")
	b.env["no_proxy"] = "example, localhost,127.0.0.1"
	b.says("proxy", "ok", "http_proxy")
	clear(b.env)
	for name, cases := range map[string][][2]string{
		"etc/chromium/policies/managed/p.json": {
			{`{"ProxyMode":"fixed_servers","ProxyServer":"p:1","ProxyBypassList":"<-loopback>"}`, "fail"}, {`{"ProxyMode":"pac_script","ProxyPacUrl":"http://p/pac"}`, "ok"},
			{`{"ProxySettings":{"ProxyMode":"fixed_servers","ProxyServer":"p:1","ProxyBypassList":"a;<-loopback>"}}`, "fail"}, {`{"ProxyMode":"direct"}`, "ok"}, {`{`, "ok"},
		},
		"etc/firefox/policies/policies.json": {
			{`{"policies":{"Proxy":{"Mode":"manual"},"Preferences":{"network.proxy.allow_hijacking_localhost":{"Value":true}}}}`, "fail"}, {`{"policies":{"Proxy":{"Mode":"manual"}}}`, "ok"},
		},
		"home/.mozilla/firefox/a.default/prefs.js": {
			{"user_pref(\"network.proxy.type\", 1);\nuser_pref(\"network.proxy.allow_hijacking_localhost\", true);\n", "fail"}, {"user_pref(\"network.proxy.type\", 2);\n", "ok"},
		},
		"usr/bin/gsettings": {
			{"#!/bin/sh\ncase $3 in mode) echo \"'manual'\";; *) echo \"['localhost', '127.0.0.0/8', '::1']\";; esac\n", "ok"},
			{"#!/bin/sh\ncase $3 in mode) echo \"'manual'\";; *) echo '@as []';; esac\n", "warn"}, {"#!/bin/sh\necho \"'auto'\"\n", "ok"}, {"#!/bin/sh\nexit 1\n", "ok"},
		},
	} {
		for _, c := range cases {
			path := b.write(name, c[0])
			b.says("proxy", c[1], "")
			os.Remove(path)
		}
	}
}

// TestHungDesktop: a program of the desktop's that does not answer is ended and waited for.
func TestHungDesktop(t *testing.T) {
	b := newBed(t)
	b.write("usr/bin/gsettings", "#!/bin/sh\nexec sleep 1000\n")
	begun := time.Now()
	b.says("proxy", "ok", "")
	if took := time.Since(begun); took > 15*time.Second {
		t.Errorf("the doctor took %v", took)
	}
	if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err != syscall.ECHILD {
		t.Errorf("Wait4() = %d, %v: a child is left", pid, err)
	}
}

// TestBrowsers: machine policy and the user's own answers.
func TestBrowsers(t *testing.T) {
	b := newBed(t)
	b.write("etc/chromium/policies/managed/a.json", `{"LoopbackNetworkAllowedForUrls":["*"]}`)
	b.says("browser", "ok", "")
	b.write("etc/opt/chrome/policies/managed/a.json", `{"LoopbackNetworkBlockedForUrls":["https://x.example"]}`)
	b.says("browser", "warn", "Chrome keeps these pages from reaching this host: https://x.example")
	b.write("etc/chromium/policies/managed/b.json", `{"LocalNetworkAccessBlockedForUrls":["*"]}`)
	b.says("browser", "fail", "Chromium keeps all pages")
	b.write("home/.config/microsoft-edge/Default/Preferences",
		`{"profile":{"content_settings":{"exceptions":{"loopback_network":{"https://y.example:443,*":{"setting":2},"https://z.example:443,*":{"setting":1}},"cookies":{"https://q.example,*":{"setting":2}}}}}}`)
	b.says("browser", "warn", "in Edge you have denied the permission to reach this host to https://y.example:443")
}

// TestTraps: what stands in the place of a browser's file and never ends keeps doctor from nothing.
func TestTraps(t *testing.T) {
	b := newBed(t)
	for _, name := range []string{"home/.mozilla/firefox/x/prefs.js", "home/.config/chromium/Default/Preferences"} {
		path := b.write(name, "")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	zero := b.write("home/.mozilla/firefox/y/prefs.js", "")
	if err := os.Remove(zero); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/zero", zero); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		doctor.Look(t.Context(), b.cfg)
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("doctor hangs")
	}
}

// TestHost: what is there is really looked at.
func TestHost(t *testing.T) {
	b := newBed(t)
	b.says("broker", "fail", "there is no broker")
	b.says("agent", "fail", "no agent runs in session c2")
	b.says("pcsc", "fail", "is missing")
	b.says("state", "ok", "has not made")
	b.says("antivirus", "unknown", "")
	b.says("clock", "ok", "")
	if err := errors.Join(os.MkdirAll(b.cfg.State, 0o755), os.Chmod(b.cfg.State, 0o755)); err != nil { // whatever the umask
		t.Fatal(err)
	}
	b.says("state", "fail", "open to others")
	b.write("opt/eset/x", "")
	b.says("antivirus", "warn", "ESET")
	b.cfg.Built = time.Now().Add(time.Hour)
	b.says("clock", "fail", "built")
	b.cfg.Built = time.Time{}
	future := time.Now().Add(time.Hour)
	if err := os.Chtimes(b.write("etc/resolv.conf", ""), future, future); err != nil {
		t.Fatal(err)
	}
	b.says("clock", "fail", "resolv.conf")
	b.cfg.Sandbox = b.write("nothing", "")
	os.Chmod(b.cfg.Sandbox, 0o644)
	b.says("sandbox", "fail", "not a program")
	for _, path := range []string{b.cfg.Socket, b.cfg.PCSC} {
		listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
		if err != nil {
			t.Fatal(err)
		}
		listener.SetUnlinkOnClose(false)
		listener.Close()
	}
	b.says("broker", "fail", "no broker answers")
	b.says("pcsc", "fail", "no PC/SC service answers")
}

// TestForeignPort: another program on the broker's port is named.
func TestForeignPort(t *testing.T) {
	b := newBed(t)
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.Write([]byte("HTTP/1.0 200 OK\r\n\r\n{}"))
			conn.Close()
		}
	}()
	b.cfg.Port = cardbroker.Port(listener.Addr().(*net.TCPAddr).Port)
	b.says("port", "fail", "doctor.test (process ")
}

// TestModules: files that are no module of this system's are told apart without being loaded.
func TestModules(t *testing.T) {
	b := newBed(t)
	narrow := make([]byte, 0x34) // the header of an ELF file for 32 bits and EM_386, without sections
	copy(narrow, "\x7fELF\x01\x01\x01")
	narrow[16], narrow[18], narrow[20], narrow[0x28], narrow[0x2A], narrow[0x2E] = 3, 3, 1, 0x34, 0x20, 0x28
	for name, test := range map[string]struct{ text, wrong string }{
		"narrow.so": {string(narrow), "it is 32-bit x86"}, "text.so": {"not a library", "no ELF file"},
	} {
		if m := doctor.ModuleFile(b.write(name, test.text)); m.Err != nil || m.Wrong == nil || !strings.Contains(m.Wrong.Error(), test.wrong) {
			t.Errorf("%s: %v, %v, want %q", name, m.Err, m.Wrong, test.wrong)
		}
	}
	if m := doctor.ModuleFile("/nowhere/x.so"); !errors.Is(m.Err, fs.ErrNotExist) {
		t.Errorf("a module that is not there: %v", m.Err)
	}
	testenv.Root(t)
	path := b.write("theirs.so", string(narrow))
	if err := os.Chown(path, 1234, 1234); err != nil {
		t.Fatal(err)
	}
	if m := doctor.ModuleOfRoot(path); cardbroker.ReasonOf(m.Err) != cardbroker.CallerRefused {
		t.Errorf("a module of another user: %v", m.Err)
	}
}
