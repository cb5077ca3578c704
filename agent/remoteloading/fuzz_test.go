// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package remoteloading

import (
	"encoding/json"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/apdu"
)

// FuzzCommands: whatever a page sends, what comes out is a command that can be judged, or Invalid; and what it is judged by is what is sent.
func FuzzCommands(f *testing.F) {
	f.Add([]byte(`{"apdu":{"cla":"00","ins":"20","p1":"00","p2":"80","data":"3132","le":"00"},"commands":["00A40400","0020008008"]}`))
	f.Add([]byte(`{"apdu":{"cla":"00","ins":"A4","p1":"04","p2":"00","le":"0000"},"commands":[null,"",1]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var wish struct {
			APDU     parts    `json:"apdu"`
			Commands []digits `json:"commands"`
		}
		if json.Unmarshal(text, &wish) != nil {
			return
		}
		q := list{field: "commands"}
		command, err := wish.APDU.command()
		if err == nil {
			if _, err := apdu.ParseCommand(command); err != nil {
				t.Fatalf("the parts %s make %X: %v", text, command, err)
			}
			q.commands = append(q.commands, command)
		} else if cardbroker.ReasonOf(err) != cardbroker.Invalid {
			t.Fatalf("the parts: %v", err)
		}
		for i := range wish.Commands {
			if err := q.add(&wish.Commands[i]); err != nil && cardbroker.ReasonOf(err) != cardbroker.Invalid {
				t.Fatalf("the command %d: %v", i, err)
			}
		}
		if err := q.check(); err != nil {
			if cardbroker.ReasonOf(err) != cardbroker.Invalid {
				t.Fatalf("check: %v", err)
			}
			return
		}
		if _, err := q.judge(false); err != nil && cardbroker.ReasonOf(err) == cardbroker.Internal {
			t.Fatalf("judge: %v", err)
		}
	})
}
