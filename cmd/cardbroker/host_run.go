// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/broker"
	"github.com/cardbroker/cardbroker/broker/audit"
	"github.com/cardbroker/cardbroker/broker/registry"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/logs"
	"github.com/cardbroker/cardbroker/internal/peer"
	owned "github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/store"
)

// hostRun is `cardbroker host run`.
func (p *program) hostRun() *cobra.Command {
	var file, instance string
	var fd int
	var flags config.Host
	c := &cobra.Command{Use: "run", Short: "Run the broker", Args: cobra.NoArgs}
	c.Flags().StringVar(&file, "config", "", "configuration file (default "+config.HostFile+", if it is there)")
	c.Flags().StringVar(&flags.State, "state", "", "state directory (default "+defaultHostState("")+")")
	c.Flags().StringVar(&flags.Socket, "socket", "", "local socket of agents and administrators (default "+defaultSocket("")+")")
	c.Flags().StringVar(&flags.Listen, "listen", "", "address of web pages, always on [::1] too (default "+config.DefaultListen+")")
	c.Flags().StringVar(&flags.Ports, "ports", "", "ports of the agents (default "+cardbroker.DefaultPorts+")")
	c.Flags().StringVar(&flags.Backend.Listen, "backend-listen", "", "address of the door for back ends (default: no door)")
	c.Flags().StringVar(&flags.Backend.Cert, "backend-cert", "", "the door's certificate chain, PEM")
	c.Flags().StringVar(&flags.Backend.Key, "backend-key", "", "the door's private key, PEM")
	c.Flags().StringVar(&flags.Backend.Tokens, "backend-tokens", "", "file of tenants and their tokens, mode 0600")
	c.Flags().StringVar(&instance, "instance", "", "name of this broker, where a host has several: part of its default paths")
	c.Flags().IntVar(&fd, "ready-fd", 0, "descriptor for the ready line (default: standard output)")
	c.RunE = func(c *cobra.Command, _ []string) error {
		out, err := p.openReady(fd)
		if err != nil {
			return err
		}
		cfg, err := config.LoadHost(file, flags)
		if err != nil {
			return err
		}
		if cfg.Socket == "" {
			cfg.Socket = defaultSocket(instance)
		}
		if cfg.State == "" {
			cfg.State = defaultHostState(instance)
		}
		ctx, stop := p.service(c.Context())
		defer stop()
		return p.runHost(ctx, cfg, out)
	}
	return c
}

// runHost opens everything in the order in which it is needed, serves until ctx ends, and closes it in reverse.
// out gets the ready line.
func (p *program) runHost(ctx context.Context, cfg config.Host, out io.Writer) error {
	log, err := p.logger()
	if err != nil {
		return err
	}
	ports, port, err := hostPorts(cfg)
	if err != nil {
		return err
	}
	ledger, err := store.Open(filepath.Join(cfg.State, storeFile), store.Options{})
	if err != nil {
		return usable(err, "cannot use the state directory %s; name another with --state (and --socket)", cfg.State)
	}
	defer ledger.Close()
	socket, err := listenLocal(ctx, cfg.Socket)
	if err != nil {
		return err
	}
	defer socket.Close()
	listeners, err := takePort(ctx, port, log)
	if err != nil {
		return err
	}
	defer closeAll(listeners)
	record, stopRecord, err := openAudit(ctx, cfg, ledger, log)
	if err != nil {
		return err
	}
	defer stopRecord()
	browsers, scrapers, err := openPorts(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer closePorts(browsers, scrapers)
	backend, calls, err := openDoors(ctx, cfg, ledger, log)
	if err != nil {
		return err
	}
	service, err := broker.New(ctx, broker.Config{
		Listen:   listeners,
		Socket:   socket,
		Backend:  backend,
		DialOut:  calls,
		Browsers: browsers,
		Metrics:  scrapers,
		Registry: registry.Config{Ports: ports, PerUser: int(cfg.Limits.ReservationsPerUser)},
		Audit:    record,
		MaxConns: int(cfg.Limits.ConnectionsPerUser),
		HostName: hostName(cfg.Host),
		Version:  version(),
		Log:      log,
	}, ledger)
	if err == nil {
		err = p.writeReady(out, hostReady(cfg, listeners, browsers, backend, scrapers))
	}
	if err != nil {
		return err
	}
	return service.Run(ctx)
}

// hostPorts are those of the agents, and the broker's own.
func hostPorts(cfg config.Host) (cardbroker.Ports, cardbroker.Port, error) {
	ports, err := cardbroker.ParsePorts(cfg.Ports)
	if err != nil {
		return ports, 0, err
	}
	port, err := loopbackPort("--listen", cfg.Listen)
	return ports, port, err
}

// hostReady is the broker's ready line.
func hostReady(cfg config.Host, listeners []net.Listener, browsers broker.Browsers, backend *broker.Backend, scrapers broker.Scrapers) ready {
	line := ready{Socket: cfg.Socket, Listen: addresses(listeners), Fixed: fixedAddresses(browsers), Metrics: addresses(scrapers.Listen)}
	if backend != nil {
		line.Backend = backend.URL
	}
	return line
}

// openAudit starts the audit log; stop waits until what was recorded is written.
func openAudit(ctx context.Context, cfg config.Host, heads audit.Heads, log *slog.Logger) (record *audit.Log, stop func(), err error) {
	size, err := cfg.Audit.Bytes()
	if err != nil {
		return nil, nil, err
	}
	record, err = audit.Open(ctx, audit.Config{
		Dir:       filepath.Join(cfg.State, auditDir),
		KeepDays:  int(cfg.Audit.KeepDays),
		MaxBytes:  size,
		Heads:     heads,
		SystemLog: logs.NewSystem("cardbroker").Notice,
		Log:       log,
	})
	if err != nil {
		return nil, nil, usable(err, "cannot use the audit log in the state directory %s", cfg.State)
	}
	group := owned.New(context.WithoutCancel(ctx))
	group.Go("audit", record.Run)
	return record, func() { group.Stop() }, nil
}

// hostName returns the name under which back ends know this host: the configured one, else the system's.
func hostName(configured string) string {
	if configured != "" {
		return configured
	}
	name, _ := os.Hostname() // without a name there is none to show
	return name
}

// listenLocal listens on the local socket: 0666 in a directory that only its owner can write to. The socket of a broker
// that was killed is replaced; that of one that lives is a Conflict.
func listenLocal(ctx context.Context, path string) (net.Listener, error) {
	err := os.Mkdir(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.Chmod(filepath.Dir(path), 0o755) // every user has to reach the socket, whatever our umask
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, usable(err, "cannot make the directory of the local socket %s; name another with --socket (and --state)", path)
	}
	if err := peer.CheckPath(filepath.Dir(path), peer.Self()); err != nil { // else he could put his own there, or a link
		return nil, usable(err, "the local socket %s would not be safe; name another path with --socket", path)
	}
	var dialer net.Dialer
	if conn, err := dialer.DialContext(ctx, "unix", path); err == nil {
		conn.Close()
		return nil, cardbroker.Errorf(cardbroker.Conflict, "another broker answers at %s", path)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
		os.Remove(path)
	}
	listener, err := httpserver.Listen(ctx, "unix", path)
	if err != nil {
		return nil, usable(err, "cannot listen at %s; name another path with --socket (and --state)", path)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		listener.Close()
		return nil, err
	}
	return listener, nil
}

// usable turns an error of the file system into one that says what to do; errors with a reason stay as they are.
func usable(err error, format string, args ...any) error {
	if _, ours := errors.AsType[*cardbroker.Error](err); ours && cardbroker.ReasonOf(err) != cardbroker.Invalid {
		return err
	}
	return cardbroker.Wrapf(err, cardbroker.Invalid, format, args...)
}

// loopbackPort checks the address that key gives: 127.0.0.1 or [::1], since both are always listened on.
func loopbackPort(key, address string) (cardbroker.Port, error) {
	end, err := netip.ParseAddrPort(address)
	if err != nil || !end.Addr().IsLoopback() {
		return 0, cardbroker.Errorf(cardbroker.Invalid, "%s %s: want 127.0.0.1:PORT", key, address)
	}
	return cardbroker.Port(end.Port()), nil
}

// reachable is how others name a listener: by the host's name where it listens on all addresses.
func reachable(addr net.Addr, host string) string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return addr.String()
	}
	return net.JoinHostPort(host, strconv.Itoa(tcp.Port))
}

func closeAll(listeners []net.Listener) {
	for _, listener := range listeners {
		listener.Close()
	}
}
