// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package election

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/hashicorp/memberlist"
)

// loopback opens a port of 127.0.0.1 to gossip at.
func (e *Elector) loopback() (memberlist.NodeAwareTransport, error) {
	logger := slog.NewLogLogger(e.cfg.Log.Handler(), slog.LevelDebug)
	logger.SetOutput(phrases{e.cfg.Log})
	t, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{BindAddrs: []string{"127.0.0.1"}, Logger: logger})
	if err != nil {
		return nil, fmt.Errorf("cannot listen: %w", err)
	}
	return t, nil
}

// phrases logs what memberlist writes at level debug, and of each line only how it begins: the rest comes from others.
type phrases struct{ log *slog.Logger }

func (p phrases) Write(line []byte) (int, error) {
	if p.log.Enabled(context.Background(), slog.LevelDebug) {
		p.log.Debug("gossip", "err", phrase(string(line)))
	}
	return len(line), nil
}

// phrase returns the constant beginning of a line like "2026/11/26 21:40:00 [WARN] memberlist: Got ping for unexpected node 'x' from=y".
func phrase(line string) string {
	if _, after, found := strings.Cut(line, "memberlist: "); found {
		line = after
	}
	if i := strings.IndexFunc(line, func(r rune) bool { return r != ' ' && (r < 'A' || r > 'z' || r > 'Z' && r < 'a') }); i >= 0 {
		line = line[:i]
	}
	return strings.TrimSpace(line)
}
