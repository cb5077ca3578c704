// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package election_test

import (
	"bytes"
	"compress/lzw"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/election"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/internal/testenv"
)

// gossips starts n electors that gossip over real sockets, and tells them of each other. stop ends one.
func gossips(t *testing.T, n int) (electors []*election.Elector, stop func(int)) {
	var wg sync.WaitGroup
	ends := make([]context.CancelFunc, n)
	for i := range n {
		e := election.New(election.Config{Self: api.Voter{Name: fmt.Sprint("voter", i), Born: uint64(i)}, Log: slog.New(slog.DiscardHandler)})
		electors = append(electors, e)
		ctx, end := context.WithCancel(context.Background())
		ends[i] = end
		wg.Go(func() { e.Run(ctx) })
	}
	t.Cleanup(func() {
		for _, end := range ends {
			end()
		}
		wg.Wait()
	})
	introduce(electors)
	for _, e := range electors {
		<-e.Changed()
	}
	introduce(electors)
	return electors, func(i int) { ends[i]() }
}

// introduce tells all of them of all of them.
func introduce(electors []*election.Elector) {
	var voters []api.Voter
	for _, e := range electors {
		voters = append(voters, e.Self())
	}
	for _, e := range electors {
		e.Appoint(voters)
	}
}

// until waits until something is so, for ten seconds.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	run.Every(ctx, time.Millisecond, func() error {
		if so() {
			cancel()
		}
		return nil
	})
	if !so() {
		t.Fatalf("not in ten seconds: %s", what)
	}
}

// TestGossipOnLoopback has five voters meet over real sockets; one leaves, which the others hear of at once; and after the end
// no goroutine and no socket is left.
func TestGossipOnLoopback(t *testing.T) {
	settled := testenv.Leaks(t)
	t.Run("voters", func(t *testing.T) {
		electors, stop := gossips(t, 5)
		for i, e := range electors {
			until(t, "all know all", func() bool { return len(e.Lives()) == 5 })
			if rank, _ := e.Rank(); rank != i {
				t.Errorf("rank of voter %d = %d", i, rank)
			}
		}
		stop(0)
		for i, e := range electors[1:] {
			until(t, "the first has left", func() bool { return len(e.Lives()) == 4 })
			if rank, _ := e.Rank(); rank != i {
				t.Errorf("rank of voter %d = %d when the first has left", i+1, rank)
			}
		}
	})
	settled()
}

// bomb is a packet that unfolds to 16 MiB.
func bomb(t *testing.T) []byte {
	squeeze := func(b []byte) []byte {
		var out bytes.Buffer
		w := lzw.NewWriter(&out, lzw.LSB, 8)
		w.Write(b)
		w.Close()
		return append([]byte{9, 0x82, 0xa4, 'A', 'l', 'g', 'o', 0, 0xa3, 'B', 'u', 'f', 0xc5, byte(out.Len() >> 8), byte(out.Len())}, out.Bytes()...)
	}
	packet := squeeze(make([]byte, 16<<20))
	if len(packet) > 60000 {
		packet = squeeze(packet)
	}
	if len(packet) > 60000 {
		t.Fatalf("%d bytes are no packet", len(packet))
	}
	return packet
}

// TestFloodOnLoopback sends a voter's port what costs memory: packets that unfold, a state of a million nodes, and connections
// that say nothing. The voter gossips on.
func TestFloodOnLoopback(t *testing.T) {
	electors, _ := gossips(t, 2)
	until(t, "both know both", func() bool { return len(electors[0].Lives()) == 2 })
	to := electors[0].Self().Gossip.String()
	udp, err := net.Dial("udp", to)
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	var before, after runtime.MemStats
	packet := bomb(t)
	runtime.ReadMemStats(&before)
	for range 20 {
		udp.Write(packet)
	}
	udp.Write(pack(0, map[string]any{"SeqNo": 7, "Node": ""})) // a ping, which is answered when all before it is done
	udp.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := udp.Read(make([]byte, 2000)); err != nil {
		t.Fatalf("no answer to a ping: %v", err)
	}
	var silent []net.Conn
	for range election.MaxStreams + 1 {
		silent = append(silent, dial(t, to))
	}
	if err := ends(silent[election.MaxStreams]); err != io.EOF {
		t.Errorf("one connection too many ends with %v, want EOF", err)
	}
	for _, c := range silent {
		c.Close()
	}
	ping := pack(0, map[string]any{"SeqNo": 7, "Node": ""})
	until(t, "there is room again", func() bool { return len(say(t, to, ping)) > 0 })
	for range 10 {
		if answer := say(t, to, []byte(stateHead("\xc3", "\xce\x00\x0f\xff\xff")+"\x00")); len(answer) > 0 {
			t.Errorf("a state of a million nodes was answered by %q", answer)
		}
	}
	runtime.ReadMemStats(&after)
	if n := (after.TotalAlloc - before.TotalAlloc) >> 20; n > 30 {
		t.Errorf("%d MiB were allocated, want 30 at most", n)
	}
	if len(electors[0].Lives()) != 2 {
		t.Errorf("knows %v after a flood, want both", electors[0].Lives())
	}
}

func dial(t *testing.T, to string) net.Conn {
	t.Helper()
	var d net.Dialer
	d.SetMultipathTCP(false)
	c, err := d.DialContext(t.Context(), "tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	return c
}

// say sends a message over a stream and returns all of the answer.
func say(t *testing.T, to string, message []byte) []byte {
	t.Helper()
	c := dial(t, to)
	defer c.Close()
	c.Write(message)
	answer, _ := io.ReadAll(c)
	return answer
}

// ends waits for the end of a connection, and returns how it ends.
func ends(c net.Conn) error {
	_, err := c.Read(make([]byte, 1))
	return err
}
