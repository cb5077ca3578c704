// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package chromium

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/cardbroker/cardbroker/test/stage"
)

const (
	startTimeout = 90 * time.Second // these two end what hangs: a cold start has taken 20 s where six suites ran
	callTimeout  = 90 * time.Second
	closeTimeout = 5 * time.Second

	minShared = 4 << 30 // bytes of shared memory; with less a browser may crash
)

// flags keep a browser to itself: no display, no questions, nothing sent to its maker. No watchdog kills its GPU process, which draws
// here, for being late: when that has ended six times, so does the browser.
const flags = "--headless --remote-debugging-pipe --no-first-run --no-default-browser-check --disable-gpu --disable-gpu-watchdog --disable-quic " +
	"--disable-background-networking --disable-component-update --disable-sync --disable-extensions --disable-breakpad " +
	"--password-store=basic --no-proxy-server --window-size=400,300"

// Config is whose browser it is, and how it is set up.
type Config struct {
	Program string       // chromium's path
	User    stage.Person // its profile is made in his private directory
	Hosts   string       // --host-resolver-rules, such as "MAP app.example 198.51.100.10"
	SPKI    string       // hash of the key whose certificates are accepted for every name; empty: none
}

// Browser is a browser that runs. One goroutine may use it.
type Browser struct {
	Version string

	ctx   context.Context // its time
	cmd   *exec.Cmd
	pipe  pipe
	log   *os.File         // what it writes to standard error
	pages map[string]*Page // by the protocol's session
	ended string           // how; "": it has not, or nobody has looked
}

// Start starts a browser with a new profile. It ends with Close, or with ctx.
func Start(ctx context.Context, cfg Config) (*Browser, error) {
	profile, err := os.MkdirTemp(cfg.User.Home, "chromium-")
	if err != nil {
		return nil, err
	}
	args := append(strings.Fields(flags), "--user-data-dir="+profile)
	if shared := (syscall.Statfs_t{}); syscall.Statfs("/dev/shm", &shared) != nil || shared.Bavail*uint64(shared.Bsize) < minShared {
		args = append(args, "--disable-dev-shm-usage") // Debian's script says so, too, but not where something is mounted on it twice
	}
	if cfg.Hosts != "" {
		args = append(args, "--host-resolver-rules="+cfg.Hosts)
	}
	if cfg.SPKI != "" {
		args = append(args, "--ignore-certificate-errors-spki-list="+cfg.SPKI)
	}
	log, err := os.Create(profile + ".log")
	if err != nil {
		return nil, err
	}
	b := &Browser{ctx: ctx, cmd: exec.CommandContext(ctx, cfg.Program, args...), log: log, pages: map[string]*Page{}}
	b.cmd.Dir = cfg.User.Home
	b.cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + cfg.User.Home, "XDG_RUNTIME_DIR=" + cfg.User.Home, "LANG=C.UTF-8"}
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: cfg.User.Cred}
	b.cmd.Stderr = struct{ io.Writer }{log} // by way of a pipe, whose end is that of all who write
	b.cmd.Cancel = b.kill
	b.cmd.WaitDelay = closeTimeout
	if cred := cfg.User.Cred; cred != nil {
		err = os.Chown(profile, int(cred.Uid), int(cred.Gid))
	} else if os.Geteuid() == 0 {
		err = errors.New("a browser is not run as root: its sandbox would be off")
	}
	if err == nil {
		err = b.pipe.start(b.cmd)
	}
	if err != nil {
		log.Close()
		return nil, err
	}
	var version struct {
		Product string `json:"product"`
	}
	if err := b.call(startTimeout, "", "Browser.getVersion", nil, &version); err != nil {
		b.Close()
		return nil, fmt.Errorf("%s did not start: %w", filepath.Base(cfg.Program), err)
	}
	b.Version = version.Product
	return b, nil
}

// Close ends the browser: asks it to, then makes it.
func (b *Browser) Close() {
	b.pipe.send(message{ID: -1, Method: "Browser.close"})
	b.finish() // how it ends says nothing
}

// Permissions that pages may have, by the protocol's names.
const (
	Granted = "granted"
	Denied  = "denied"
)

// SetPermission says what an origin's pages may do, as the user would in the address bar. name is one of the web's, such as
// loopback-network.
func (b *Browser) SetPermission(origin, name, setting string) error {
	return b.call(callTimeout, "", "Browser.setPermission", object{"permission": object{"name": name}, "setting": setting, "origin": origin}, nil)
}

// Grant grants permissions by the protocol's own names, such as loopbackNetwork, and takes all others away.
func (b *Browser) Grant(origin string, permissions ...string) error {
	return b.call(callTimeout, "", "Browser.grantPermissions", object{"origin": origin, "permissions": permissions}, nil)
}

// call asks the browser and waits for its answer. Events that come meanwhile go to their pages.
func (b *Browser) call(timeout time.Duration, session, method string, params, answer any) error {
	id, err := b.pipe.ask(session, method, params)
	if err != nil {
		return fmt.Errorf("%s: %w", method, b.why(err))
	}
	deadline := time.Now().Add(timeout)
	for {
		m, err := b.next(deadline, b.pages[session])
		if err != nil {
			return fmt.Errorf("%s: %w", method, err)
		}
		if m.ID == id {
			return m.decode(method, answer)
		}
	}
}

// next reads a message; an event is told to its page. It is an error that the page that waits for one, if any, can get none.
func (b *Browser) next(deadline time.Time, waiting *Page) (message, error) {
	m, err := b.pipe.receive(deadline)
	if err != nil {
		return m, b.why(err)
	}
	if m.Method != "" && b.pages[m.Session] != nil {
		b.pages[m.Session].hear(m)
	}
	if waiting != nil && waiting.crashed {
		return m, fmt.Errorf("the page's process has ended; the browser has written: %s", b.said())
	}
	return m, nil
}
