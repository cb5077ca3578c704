// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package actor

import (
	"context"
	"encoding/json"
	"io"
	"time"

	"github.com/hashicorp/memberlist"
)

// MemberSays is a line of a member: first where it gossips, then who is dead, and since when it knows.
type MemberSays struct {
	Address string
	Dead    string
	At      time.Time
}

// Member gossips as a voter does, and knows of the deaths of others by gossip alone, until ctx ends.
func Member(ctx context.Context, name string, join []string, out io.Writer) error {
	conf := memberlist.DefaultLANConfig()
	conf.Name, conf.BindAddr, conf.BindPort, conf.LogOutput = name, "127.0.0.1", 0, io.Discard
	dead := make(chan memberlist.NodeEvent, 64)
	conf.Events = &memberlist.ChannelEventDelegate{Ch: dead}
	list, err := memberlist.Create(conf)
	if err != nil {
		return err
	}
	defer list.Shutdown()
	if _, err := list.Join(join); err != nil && len(join) > 0 {
		return err
	}
	say := json.NewEncoder(out)
	if err := say.Encode(MemberSays{Address: list.LocalNode().Address()}); err != nil {
		return err
	}
	for {
		select {
		case e := <-dead:
			if e.Event != memberlist.NodeLeave {
				continue
			}
			if err := say.Encode(MemberSays{Dead: e.Node.Name, At: time.Now()}); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}
