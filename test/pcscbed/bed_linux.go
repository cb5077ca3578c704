// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcscbed

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/cardbroker/cardbroker/internal/run"
)

// Config says what a bed is like.
type Config struct {
	Dir      string // for the bed alone, made where it is missing, not below /run; removed with what is in it at the end
	UID, GID int    // the user who may reach the service, beside root
	Readers  int    // 1 to 14; an odd number is made even, because the virtual readers come in twos
	Card     string // the program test/vcard, see BuildCard; "": it is built
}

// Card is a card to be put in.
type Card struct {
	File string // its state; "": in memory
	ATR  string // hexadecimal; "": the software card's own
	Mute bool   // the reader sees it, but it gives no ATR

	Delay time.Duration // that each command takes on its way

	Commands io.Writer // not nil: gets a byte for each command, before the card runs it
	Copies   io.Writer // not nil, and no Commands: gets each command, its length before it (u16 big-endian), before the card runs it
	Seen     io.Writer // not nil, and no Commands: gets a byte when the reader has got the card's ATR for the first time
}

// Bed is a running service. One goroutine calls its methods.
type Bed struct {
	cfg    Config
	holder *exec.Cmd // keeps the namespaces
	hold   io.Closer // its end
	daemon *exec.Cmd // nil: none runs
	cards  map[int]*exec.Cmd
	counts map[int]uint32 // the reader's event counter when it had noticed the card
	names  []string

	starts  chan func() // to the goroutine of starter
	starter *run.Group
}

const (
	driver    = "/usr/lib/pcsc/drivers/serial/libifdvpcd.so"
	firstPort = 0x8C7B // of the readers; the others follow
	maxPairs  = 7      // pcscd has room for 16 readers, but its clients have none for as many beside their pseudo reader
	stopLimit = 5 * time.Second
)

// enclose makes a /run/pcscd of its own, hides the machine's USB devices, which pcscd would take, and waits for the end of
// its input.
const enclose = `set -e
ip link set lo up
mount -t tmpfs none /run
mkdir /run/pcscd
mount --bind "$1" /run/pcscd
if [ -d /sys/bus/usb ]; then mount -t tmpfs none /sys/bus/usb; fi
echo ready
exec cat`

// Supported says what is missing here for a bed.
func Supported() error {
	if os.Geteuid() != 0 {
		return errors.New("needs root")
	}
	for _, name := range []string{"unshare", "nsenter", "ip", "mount"} {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("needs the program %s", name)
		}
	}
	if daemon() == "" {
		return errors.New("needs pcscd")
	}
	if _, err := os.Stat(driver); err != nil {
		return errors.New("needs vpcd, the driver of virtual readers")
	}
	return nil
}

// daemon returns the path of pcscd, which is not in a plain user's PATH, or "".
func daemon() string {
	for _, path := range []string{"/usr/sbin/pcscd", "/usr/local/sbin/pcscd"} {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}

// Start starts a service with empty readers and returns when they are there. ctx is for the start only; the bed is to be
// stopped.
func Start(ctx context.Context, cfg Config) (_ *Bed, err error) {
	if err := Supported(); err != nil {
		return nil, err
	}
	pairs := (cfg.Readers + 1) / 2
	if pairs < 1 || pairs > maxPairs {
		return nil, fmt.Errorf("%d readers, want 1 to %d", cfg.Readers, 2*maxPairs)
	}
	b := &Bed{cfg: cfg, cards: make(map[int]*exec.Cmd), counts: make(map[int]uint32), starts: make(chan func())}
	if path := b.Socket(); len(path) > 107 { // unix(7); nobody could connect, and the wait for the readers would not say why
		return nil, fmt.Errorf("the path of the socket %s has %d bytes, want 107 or fewer", path, len(path))
	}
	b.starter = run.New(context.WithoutCancel(ctx))
	b.starter.Go("start", b.starting)
	defer func() {
		if err != nil {
			b.Stop()
		}
	}()
	if err := b.furnish(pairs); err != nil {
		return nil, err
	}
	if b.cfg.Card == "" {
		b.cfg.Card = b.path("vcard")
		if err := BuildCard(ctx, b.cfg.Card); err != nil {
			return nil, err
		}
	}
	if err := b.enclose(ctx); err != nil {
		return nil, err
	}
	return b, b.StartService(ctx)
}

// BuildCard builds the card's program, for several beds.
func BuildCard(ctx context.Context, program string) error {
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "github.com/cardbroker/cardbroker/test/vcard")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build the card: %w: %s", err, out)
	}
	return nil
}

func (b *Bed) path(parts ...string) string {
	return filepath.Join(append([]string{b.cfg.Dir}, parts...)...)
}

// run is what pcscd takes for /run/pcscd. pcscd opens it to everybody when it starts, so that it lies in another directory.
func (b *Bed) run(parts ...string) string {
	return b.path(append([]string{"user", "pcscd"}, parts...)...)
}

// furnish makes the directories and the configuration of the readers. Each pair has a copy of the driver, which knows its
// readers by their slot alone and would take those of two pairs for the same.
func (b *Bed) furnish(pairs int) error {
	if err := errors.Join(os.MkdirAll(b.cfg.Dir, 0o755), os.Chmod(b.cfg.Dir, 0o755)); err != nil { // whatever the umask
		return err
	}
	for _, dir := range []string{b.path("user"), b.run(), b.path("conf")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
	}
	for _, dir := range []string{b.path("user"), b.run()} {
		if err := os.Chown(dir, b.cfg.UID, b.cfg.GID); err != nil {
			return err
		}
	}
	code, err := os.ReadFile(driver)
	if err != nil {
		return err
	}
	for i := range pairs {
		port, lib := firstPort+2*i, b.path(fmt.Sprintf("driver%d.so", i))
		if err := os.WriteFile(lib, code, 0o700); err != nil {
			return err
		}
		text := fmt.Sprintf("FRIENDLYNAME \"Bed %d\"\nDEVICENAME /dev/null:0x%X\nLIBPATH %s\nCHANNELID 0x%X\n", i, port, lib, port)
		if err := os.WriteFile(b.path("conf", fmt.Sprintf("bed%d", i)), []byte(text), 0o600); err != nil {
			return err
		}
		b.names = append(b.names, fmt.Sprintf("Bed %d 00 00", i), fmt.Sprintf("Bed %d 00 01", i))
	}
	return nil
}

// starting starts the bed's programs, from one thread that lasts as long as the bed. They are to be killed when this process is, and for that
// the kernel takes the end of the thread which started them (PR_SET_PDEATHSIG, prctl(2)): any other thread may end that was once locked.
func (b *Bed) starting(ctx context.Context) error {
	runtime.LockOSThread()
	for {
		select {
		case start := <-b.starts:
			start()
		case <-ctx.Done():
			return nil
		}
	}
}

// start starts a program of the bed.
func (b *Bed) start(cmd *exec.Cmd) error {
	started := make(chan error, 1)
	select {
	case b.starts <- func() { started <- cmd.Start() }:
		return <-started
	case <-b.starter.Context().Done():
		return errors.New("the bed was stopped")
	}
}

// enclose makes the namespaces.
func (b *Bed) enclose(ctx context.Context) error {
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "unshare", "-n", "-m", "--propagation", "private", "sh", "-c", enclose, "sh", b.run())
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	var said strings.Builder
	cmd.Stderr = &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := b.start(cmd); err != nil {
		return err
	}
	b.holder, b.hold = cmd, in
	defer context.AfterFunc(ctx, func() { out.Close() })()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		in.Close()
		cmd.Wait()
		b.holder = nil
		return fmt.Errorf("cannot make namespaces: %w: %s", err, said.String())
	}
	return nil
}

// Command is a program within the bed's namespaces, where the machine's network and service are not.
func (b *Bed) Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	enter := []string{"-t", fmt.Sprint(b.holder.Process.Pid), "-n", "-m", "--wd=" + b.cfg.Dir, "--", program}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// Socket is what PCSCLITE_CSOCK_NAME names to programs outside.
func (b *Bed) Socket() string { return b.run("pcscd.comm") }

// Readers returns the names of the readers.
func (b *Bed) Readers() []string { return b.names }

// PID returns the process of the service.
func (b *Bed) PID() int { return b.daemon.Process.Pid }

// StartService starts the service again after Kill, and returns when its readers are there, without cards.
func (b *Bed) StartService(ctx context.Context) error {
	os.Remove(b.Socket()) // of one that was killed
	os.Remove(b.run("pcscd.pid"))
	log, err := os.OpenFile(b.path("pcscd.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := b.Command(context.WithoutCancel(ctx), daemon(), "--foreground", "-c", b.path("conf"))
	cmd.Stdout, cmd.Stderr = log, log
	if err := b.start(cmd); err != nil {
		return err
	}
	b.daemon = cmd
	err = b.await(ctx, func(states []state) bool {
		for _, name := range b.names {
			if _, ok := find(states, name); !ok {
				return false
			}
		}
		return true
	})
	if err != nil {
		return err
	}
	return os.Chmod(b.run(), 0o700)
}

// Kill kills the service, as a crash would. The cards are out after it.
func (b *Bed) Kill() {
	if b.daemon != nil {
		end(b.daemon)
		b.daemon = nil
	}
	for n, card := range b.cards {
		end(card)
		delete(b.cards, n)
	}
	clear(b.counts)
}

// Insert puts a card into reader n and returns when the service has noticed.
func (b *Bed) Insert(ctx context.Context, n int, card Card) error {
	if b.cards[n] != nil {
		return fmt.Errorf("there is a card in reader %d", n)
	}
	var args []string
	if card.Mute {
		args = append(args, "mute")
	}
	if card.Commands != nil {
		args = append(args, "tell")
	}
	if card.Copies != nil {
		args = append(args, "copy")
	}
	if card.Seen != nil {
		args = append(args, "seen")
	}
	if card.Delay > 0 {
		args = append(args, "delay="+card.Delay.String())
	}
	if card.ATR != "" {
		args = append(args, "atr="+card.ATR)
	}
	args = append(args, fmt.Sprintf("127.0.0.1:%d", firstPort+n))
	if card.File != "" {
		args = append(args, card.File)
	}
	cmd := b.Command(context.WithoutCancel(ctx), b.cfg.Card, args...)
	cmd.Stdout, cmd.Stderr = cmp.Or(card.Commands, card.Copies, card.Seen), os.Stderr
	if err := b.start(cmd); err != nil {
		return err
	}
	b.cards[n] = cmd
	return b.await(ctx, func(states []state) bool {
		s, _ := find(states, b.names[n])
		if !s.present() || s.mute() != card.Mute {
			return false
		}
		b.counts[n] = s.counter()
		return true
	})
}

// Pull takes the card out of reader n and does not wait until the service has noticed.
func (b *Bed) Pull(n int) {
	if cmd := b.cards[n]; cmd != nil {
		end(cmd)
		delete(b.cards, n)
	}
}

// Remove takes the card out of reader n and returns when the service has noticed. It has when it has counted: when a program
// cannot reset the card it only says that there is none, and takes one that is put in then for the one that was there.
func (b *Bed) Remove(ctx context.Context, n int) error {
	b.Pull(n)
	return b.await(ctx, func(states []state) bool {
		s, ok := find(states, b.names[n])
		count, was := b.counts[n]
		if !ok || s.present() || was && s.counter() == count {
			return false
		}
		delete(b.counts, n)
		return true
	})
}

// Stop ends everything and removes the directory.
func (b *Bed) Stop() error {
	b.Kill()
	if b.holder != nil {
		b.hold.Close()
		kill := time.AfterFunc(stopLimit, func() { b.holder.Process.Kill() })
		b.holder.Wait()
		kill.Stop()
		b.holder = nil
	}
	b.starter.Stop()
	return os.RemoveAll(b.cfg.Dir)
}

// end kills a process and waits for its end.
func end(cmd *exec.Cmd) {
	cmd.Process.Kill()
	cmd.Wait() // its error says that it was killed
}
