// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/cardbroker/cardbroker"
)

// steps is a script: the card signs a challenge and its own identifier, which the script takes from the CHUID (GUID, NIST SP 800-73-4 part 1
// table 9).
const steps = `steps:
- ` + selectPIV + `
- {label: CHUID, command: ` + getCHUID + `, capture: {register: guid, offset: 31, length: 16}}
- label: signature
  command: 0087119E267C248200812000112233445566778899AABBCCDDEEFF0000000000000000000000000000000000
  insert: {register: guid, offset: 22}
- {label: certificate, command: ` + getCert9E + `}
`

// runScript has the back end send commands as a script.
func (st *story) runScript() error {
	st.scene("The same in one round trip: a script")
	if err := os.WriteFile(st.Path("steps.yaml"), []byte(steps), 0o600); err != nil {
		return err
	}
	offered, err := st.offer()
	if err != nil {
		return err
	}
	out, err := st.reader(tenant, offered.Ticket, "run", "-", st.Path("steps.yaml"))
	if err != nil {
		return err
	}
	var ran struct {
		Outcome string
		Steps   []struct {
			SW string
			US struct{ Total, Card int64 }
		}
	}
	json.Unmarshal(out.Stdout, &ran)
	var times []string
	for _, step := range ran.Steps {
		times = append(times, fmt.Sprintf("%s in %d µs (card %d)", step.SW, step.US.Total, step.US.Card))
	}
	st.check(out.Status == 0 && ran.Outcome == "ok" && len(ran.Steps) == 4, "4 commands, of which one has what another answered", strings.Join(times, ", "))
	return nil
}

// refusalIsRecorded shows that an administrator sees what the firewall has refused.
func (st *story) refusalIsRecorded() error {
	out, err := st.Run(nil, "cardbroker", "host", "audit", "show", "--state", st.Path("state"), "--event", "apdu_refused", "--json")
	if err != nil {
		return err
	}
	var log struct {
		Events []struct {
			Tenant, Detail string
			Rule           cardbroker.Rule
		}
	}
	json.Unmarshal(out.Stdout, &log)
	said := string(out.Stdout)
	recorded := !strings.Contains(said, pin) && !strings.Contains(said, verifyPIN[10:]) && len(log.Events) == 1 && log.Events[0].Tenant == tenant && log.Events[0].Rule == cardbroker.RuleFirewall
	seen := string(out.Stderr)
	if recorded {
		seen = log.Events[0].Detail
	}
	st.check(recorded, "the audit log has the refusal, and no PIN", seen)
	return nil
}

// The commands of the tunnel in whose middle the broker is killed. The software card takes 300 ms for the second one.
var acrossKill = []string{selectPIV, "80EF012C", getCHUID, getCHUID}

// tunnelOutlives kills the broker while the card has a command of a tunnel, has it started again by restart, and looks at what became of the
// tunnel.
func (st *story) tunnelOutlives(restart func() error) error {
	offered, err := st.offer()
	if err != nil {
		return err
	}
	before := st.counted()
	cmd := st.Command(nil, "cardbroker", slices.Concat([]string{"reader", "apdu", "--json", "-"}, acrossKill, st.door(tenant, offered.Ticket))...)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	answers := bufio.NewScanner(pipe)
	var got []string
	for answers.Scan() {
		var answer apduLine
		json.Unmarshal(answers.Bytes(), &answer)
		if got = append(got, answer.SW); len(got) == 1 { // the next command is under way
			st.broker.Kill()
			if err := restart(); err != nil {
				return err
			}
		}
	}
	cmd.Wait() // what it says is in stderr
	all := slices.Equal(got, []string{"9000", "9000", "9000", "9000"})
	st.check(all, "the tunnel that was open goes on: all its commands are answered", strings.Join(got, " ")+stderr.String())
	if before >= 0 {
		ran := st.counted() - before
		st.check(ran == len(acrossKill), "and the card has counted each of them once", fmt.Sprint(ran))
	}
	return nil
}

// counted is how many commands alice's card has got; -1: nobody counts.
func (st *story) counted() int {
	if st.count == "" {
		return -1
	}
	info, err := os.Stat(st.count)
	if err != nil {
		return -1
	}
	return int(info.Size())
}
