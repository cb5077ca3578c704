// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/cardbroker/cardbroker"
	agents "github.com/cardbroker/cardbroker/agent"
	"github.com/cardbroker/cardbroker/agent/cards"
	"github.com/cardbroker/cardbroker/client"
	"github.com/cardbroker/cardbroker/internal/peer"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/test/stage"
)

const (
	idleAgentCount = 20   // each a process
	crowdAgents    = 1000 // in helpers, one for each user
	agentsOfOne    = 16   // what a user may have by default
	firstUser      = 62_000
	bareProcesses  = 5
)

// How long nothing is done: first until what begins with a process has ended, then while its switches are counted.
const (
	settleTime = 20 * time.Second
	window     = 2 * time.Minute
)

// crowd measures processes that do nothing: agents, and a broker that has a thousand of them. Switches are counted in
// one window for all.
func (b *bench) crowd(ctx context.Context) ([]measured, error) {
	host, err := b.startHost("crowd")
	if err != nil {
		return nil, err
	}
	defer host.stop()
	var idle, bare []int
	for range idleAgentCount {
		agent, err := host.startAgent()
		if err != nil {
			return nil, err
		}
		idle = append(idle, agent.pid)
	}
	for range bareProcesses {
		process, err := b.help(nil, nil, helpIdle)
		if err != nil {
			return nil, err
		}
		defer process.end()
		bare = append(bare, process.pid())
	}
	why := ""
	if os.Geteuid() != 0 {
		why = "needs root, for agents of many users"
	} else {
		dismiss, err := host.assemble()
		defer dismiss()
		if err != nil {
			return nil, err
		}
	}
	if err := b.rest(ctx, "until all is quiet", pick(b, settleTime, settleTime/4)); err != nil {
		return nil, err
	}
	own, pss, _, err := memoryOfAll(idle)
	if err != nil {
		return nil, err
	}
	_, brokerPSS, brokerRSS, err := memoryOfAll([]int{host.pid})
	if err != nil {
		return nil, err
	}
	switches := make([]measured, 2)
	if b.wants(rowSwitches) || b.wants(rowBrokerSwitches) {
		if switches, err = b.countSwitches(ctx, idle, host.pid, bare); err != nil {
			return nil, err
		}
	}
	found := []measured{{ours: own}, {ours: pss}, {ours: brokerPSS}, {ours: brokerRSS}, switches[0], switches[1]}
	for _, i := range []int{2, 3, 5} { // the broker's
		found[i].skip = why
	}
	return found, nil
}

// memoryOfAll returns the private dirty memory, PSS and RSS of each process.
func memoryOfAll(pids []int) (own, pss, rss []float64, err error) {
	for _, pid := range pids {
		m, err := memoryOf(pid)
		if err != nil {
			return nil, nil, nil, err
		}
		own, pss, rss = append(own, m.privateDirty), append(pss, m.pss), append(rss, m.rss)
	}
	return own, pss, rss, nil
}

// countSwitches counts the context switches of idle agents and of the broker against those of a process that only waits.
func (b *bench) countSwitches(ctx context.Context, idle []int, broker int, bare []int) ([]measured, error) {
	all := append(append([]int{broker}, idle...), bare...)
	before := make([]int, len(all))
	start := time.Now()
	for i, pid := range all {
		n, err := switchesOf(pid)
		if err != nil {
			return nil, err
		}
		before[i] = n
	}
	if err := b.rest(ctx, "while context switches are counted", pick(b, window, window/2)); err != nil {
		return nil, err
	}
	rates := make([]float64, len(all))
	for i, pid := range all {
		n, err := switchesOf(pid)
		if err != nil {
			return nil, err
		}
		rates[i] = float64(n-before[i]) / time.Since(start).Minutes()
	}
	ofBroker, ofIdle, ofBare := rates[:1], rates[1:1+len(idle)], rates[1+len(idle):]
	floor := median(ofBare)
	against := func(ours []float64) measured {
		m := measured{ours: ours, limit: &limit{Name: "a Go process that only waits", P50: rounded(floor)}}
		for _, rate := range ours {
			m.ratios = append(m.ratios, rate/floor)
		}
		return m
	}
	return []measured{against(ofIdle), against(ofBroker)}, nil
}

// assemble has a thousand agents of many users register, and returns what ends them, even if it fails.
func (h *host) assemble() (dismiss func(), err error) {
	var helpers []*helper
	dismiss = func() {
		for _, helper := range helpers {
			helper.end()
		}
	}
	for n := 0; n < crowdAgents; n += agentsOfOne {
		uid := uint32(firstUser + n/agentsOfOne)
		home := h.bench.stage.Path(fmt.Sprintf("%s-%d", h.name, uid))
		if err := os.Mkdir(home, 0o700); err != nil {
			return dismiss, err
		}
		if err := os.Chown(home, int(uid), int(uid)); err != nil {
			return dismiss, err
		}
		user := &stage.Person{Home: home, Cred: &syscall.Credential{Uid: uid, Gid: uid}}
		count := strconv.Itoa(min(agentsOfOne, crowdAgents-n))
		helper, err := h.bench.help(user, nil, helpAgents, h.socket, home, count)
		if err != nil {
			return dismiss, err
		}
		helpers = append(helpers, helper)
	}
	h.bench.progress("%d agents are registered", crowdAgents)
	return dismiss, nil
}

// idleAgents is the helper that runs agents of one user, each in a session of its own.
func idleAgents(ctx context.Context, socket, state, number string) error {
	count, err := strconv.Atoi(number)
	if err != nil {
		return err
	}
	group := run.New(ctx)
	defer group.Stop()
	ready := make(chan struct{}, count)
	for i := range count {
		one, err := agents.New(agents.Config{
			Session: cardbroker.SessionID(strconv.Itoa(i)),
			State:   state,
			Socket:  socket,
			Sandbox: cards.Config{Program: "none"},
			Version: "bench",
			Ready:   func(agents.Note) { ready <- struct{}{} },
			Log:     slog.New(slog.DiscardHandler),
		}, localBroker(socket))
		if err != nil {
			return err
		}
		group.Go("agent", one.Run)
	}
	for range count {
		select {
		case <-ready:
		case <-group.Context().Done():
			return group.Wait()
		}
	}
	if err := say(nil); err != nil {
		return err
	}
	return untilEnd()
}

// localBroker is a client of a broker that runs as root, or as ourselves.
func localBroker(socket string) *client.Broker {
	return client.NewBroker(client.BrokerConfig{Socket: socket, Accounts: []cardbroker.UserID{peer.Self()}})
}
