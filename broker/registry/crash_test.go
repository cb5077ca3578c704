// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package registry_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/broker/registry"
	"github.com/cardbroker/cardbroker/store"
)

const (
	crashRounds  = 12
	crashWriters = 8
	crashDir     = "CARDBROKER_TEST_CRASH_DIR" // set in the writer's process, as is the next
	crashRound   = "CARDBROKER_TEST_CRASH_ROUND"
)

// TestKilledWriterLosesNothing kills a process that changes its registry as fast as it can, again and again, and looks
// for everything that the registry had acknowledged.
func TestKilledWriterLosesNothing(t *testing.T) {
	if dir := os.Getenv(crashDir); dir != "" {
		writeUntilKilled(t, dir)
		return
	}
	dir := t.TempDir()
	acknowledged, epoch := 0, uint64(0)
	for round := range crashRounds {
		writer := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1")
		writer.Env = append(os.Environ(), crashDir+"="+dir, fmt.Sprintf("%s=%d", crashRound, round))
		acknowledgements, err := writer.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := writer.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(acknowledgements, make([]byte, 1+rand.IntN(200))); err != nil {
			t.Fatalf("round %d: the writer ended by itself: %v", round, err)
		}
		writer.Process.Kill()
		writer.Wait()

		if err := store.Check(filepath.Join(dir, "registry.db")); err != nil {
			t.Fatalf("round %d: Check() = %v", round, err)
		}
		n, seen := checkAcknowledged(t, dir)
		if seen <= epoch {
			t.Errorf("round %d: epoch %d, want more than %d", round, seen, epoch)
		}
		acknowledged, epoch = n, seen
	}
	if acknowledged == 0 {
		t.Error("nothing was acknowledged: the test tests nothing")
	}
	t.Logf("%d kills, %d acknowledged changes, none lost", crashRounds, acknowledged)
}

// writeUntilKilled lets agents come and go, and notes each acknowledgement: "reserved NAME PORT", "registered NAME PORT
// ROUTE", and "leaving NAME" before a release, which may or may not have happened then. It also prints a byte for each.
func writeUntilKilled(t *testing.T, dir string) {
	s, err := store.Open(filepath.Join(dir, "registry.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ports, err := cardbroker.ParsePorts("1-65535")
	if err != nil {
		t.Fatal(err)
	}
	r, err := registry.New(t.Context(), registry.Config{Ports: ports}, s, quiet())
	if err != nil {
		t.Fatal(err)
	}
	notes, err := os.OpenFile(filepath.Join(dir, "notes"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	note := func(format string, args ...any) {
		fmt.Fprintf(notes, format+"\n", args...)
		os.Stdout.WriteString(".")
	}
	var wg sync.WaitGroup
	wg.Go(func() { r.Run(context.Background()) })
	for n := range crashWriters {
		wg.Go(func() {
			session := cardbroker.SessionID(fmt.Sprintf("%s.%d", os.Getenv(crashRound), n))
			for uid := uint32(1000); ; uid++ {
				c := registry.Claim{
					Key:  cardbroker.AgentKey{User: cardbroker.UserID{UID: uid}, Session: session},
					Hash: cardbroker.RandomSecret().Hash(),
				}
				if reservation, err := r.Reserve(context.Background(), c, nil); err == nil {
					note("reserved %s %d", name(c.Key), reservation.Port)
				}
				if agent, err := r.Register(context.Background(), c); err == nil {
					note("registered %s %d %s", name(c.Key), agent.Port, agent.Route)
				}
				if uid%8 != 0 {
					note("leaving %s", name(c.Key))
					r.Release(context.Background(), c)
				}
			}
		})
	}
	wg.Wait()
}

func name(key cardbroker.AgentKey) string { return key.User.String() + "/" + string(key.Session) }

// checkAcknowledged holds the store against the notes and returns how many there are, and the epoch.
func checkAcknowledged(t *testing.T, dir string) (int, uint64) {
	t.Helper()
	s, err := store.Open(filepath.Join(dir, "registry.db"), store.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	kept, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	for _, r := range kept.Records {
		found[name(r.Agent.Key)] = fmt.Sprint(r.Agent.Port, " ", r.Agent.Route)
	}
	text, err := os.ReadFile(filepath.Join(dir, "notes"))
	if err != nil {
		t.Fatal(err)
	}
	promised := make(map[string]string)
	notes := strings.Split(strings.TrimSpace(string(text)), "\n")
	for _, note := range notes {
		word, rest, _ := strings.Cut(note, " ")
		agent, promise, _ := strings.Cut(rest, " ")
		if word == "leaving" {
			delete(promised, agent)
		} else {
			promised[agent] = promise
		}
	}
	for agent, promise := range promised { // a route that was not acknowledged may be there too
		if !strings.HasPrefix(found[agent], promise) {
			t.Errorf("agent %s was promised %q, the store has %q", agent, promise, found[agent])
		}
	}
	return len(notes), kept.Epoch
}
