// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package bed

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Terms is what was seen of who holds office: one process for each epoch, and each epoch higher than those before.
type Terms struct {
	mu     sync.Mutex
	leader map[uint64]int // process by epoch
	last   uint64
	wrong  []string
}

// Saw takes what one look has seen, after all that looks before it have.
func (t *Terms) Saw(epoch uint64, pid int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.leader == nil {
		t.leader = make(map[uint64]int)
	}
	other, known := t.leader[epoch]
	switch {
	case known && other != pid:
		t.wrong = append(t.wrong, fmt.Sprintf("processes %d and %d both lead with epoch %d", other, pid, epoch))
	case epoch < t.last:
		t.wrong = append(t.wrong, fmt.Sprintf("epoch %d of process %d comes after %d", epoch, pid, t.last))
	case !known:
		t.leader[epoch], t.last = pid, epoch
	}
}

// Seen returns how many terms there were, the last one's epoch, and what was wrong.
func (t *Terms) Seen() (terms int, last uint64, wrong []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.leader), t.last, append([]string(nil), t.wrong...)
}

// Look asks whoever leads which term it is, on both addresses. What is seen while the office changes hands does not count.
func (b *Bed) Look(ctx context.Context, terms *Terms) error {
	before, err := b.Leader()
	if err != nil || before == nil {
		return err
	}
	var said [2]uint64
	var modes [2]string
	for i, host := range []string{"127.0.0.1", "::1"} {
		var info Info
		header, err := Ask(ctx, 0, host, "/info", &info)
		if err != nil {
			return nil // it may be gone
		}
		said[i], modes[i] = header, fmt.Sprint(info.Cardbroker.Mode, " ", info.Cardbroker.Epoch)
	}
	after, err := b.Leader()
	if err != nil || after != before {
		return err // a service may have answered
	}
	for i, header := range said {
		if want := fmt.Sprint("elected ", header); modes[i] != want {
			return fmt.Errorf("/info says %q, its header %q", modes[i], want)
		}
	}
	if said[0] != said[1] {
		return fmt.Errorf("agent %s leads with epoch %d on 127.0.0.1 and %d on [::1]", before.Session, said[0], said[1])
	}
	terms.Saw(said[0], before.PID())
	return nil
}

// lookEvery is how often who leads is looked at in the background, besides after each failover. A look reads the tables of the host, which
// takes a processor for several milliseconds, and those that are measured are not to wait for that.
const lookEvery = 500 * time.Millisecond

// Watch looks again and again until ctx ends.
func (b *Bed) Watch(ctx context.Context, terms *Terms) error {
	for {
		if err := b.Look(ctx, terms); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
			return nil
		}
	}
}

// maxLog is how much of a log is shown, in bytes.
const maxLog = 1 << 10

// Logs returns the ends of all logs, for who looks for a fault.
func (b *Bed) Logs() string {
	var all strings.Builder
	files, _ := filepath.Glob(b.Path("*.log"))
	for _, file := range files {
		text, _ := os.ReadFile(file)
		fmt.Fprintf(&all, "--- %s\n%s", filepath.Base(file), text[max(0, len(text)-maxLog):])
	}
	return all.String()
}
