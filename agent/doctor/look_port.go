// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/peer"
)

// lookPorts says who listens on the broker's port for web pages, and on the agent's.
func (w *World) lookPorts(ctx context.Context, cfg Config) []Port {
	var ports []Port
	if !w.stands() || w.BrokerErr == nil { // else it is the registry's
		broker := listener(cfg.Port)
		broker.Of = "broker"
		if broker.Held {
			broker.Ours = speaks(ctx, cfg.Port)
		}
		ports = append(ports, broker)
	}
	switch {
	case w.Agent != nil && w.Agent.State == cardbroker.Registered:
		agent := listener(w.Agent.Port)
		agent.Of, agent.Mandatory, agent.Ours = "agent", true, w.Agent.ListenerOK
		ports = append(ports, agent)
	case w.Note != nil:
		agent := listener(w.Note.Port)
		agent.Of, agent.Mandatory, agent.Ours = "agent", true, w.Asked || agent.PID == w.Note.PID
		ports = append(ports, agent)
	}
	return ports
}

// stateListen is TCP_LISTEN in the kernel's tables.
const stateListen = "0A"

// listener finds who would get a connection to the port of this host.
func listener(port cardbroker.Port) (p Port) {
	p.Number = port
	want := fmt.Sprintf(":%04X", uint16(port))
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		text, _ := os.ReadFile(table)
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) < 10 || f[3] != stateListen || !strings.HasSuffix(f[1], want) {
				continue
			}
			uid, _ := strconv.ParseUint(f[7], 10, 32)
			p.Held, p.UID = true, uint32(uid)
			inode, _ := strconv.ParseUint(f[9], 10, 32)
			p.PID, p.Name = peer.Listener{Inode: uint32(inode)}.Process()
			return p
		}
	}
	return p
}

// speakLimit is how long a program on the broker's port may take to say what it is.
const speakLimit = 2 * time.Second

// speaks says whether a broker of ours answers at the port, in clear or over TLS.
func speaks(ctx context.Context, port cardbroker.Port) bool {
	ctx, cancel := context.WithTimeout(ctx, speakLimit)
	defer cancel()
	asks := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // it says nothing that is trusted; no proxy
	for _, scheme := range []string{"http", "https"} {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s://127.0.0.1:%d/info", scheme, port), nil)
		if err != nil {
			return false
		}
		response, err := asks.Do(request)
		if err != nil {
			continue
		}
		var info struct {
			Cardbroker *struct{} `json:"cardbroker"`
			Reason     string    `json:"reason"`
		}
		err = json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(&info)
		response.Body.Close()
		if err == nil && (info.Cardbroker != nil || info.Reason != "") {
			return true
		}
	}
	return false
}
