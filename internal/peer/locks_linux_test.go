// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package peer_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/cardbroker/cardbroker/internal/peer"
)

// TestLockedByInTheCrowd has other files locked and unlocked all the time: a lock was passed over where one before it in the kernel's list
// ended while that was read.
func TestLockedByInTheCrowd(t *testing.T) {
	dir := t.TempDir()
	lock := func(name string) func() {
		l, err := peer.Lock(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
			return func() {}
		}
		return func() { l.Close() }
	}
	const held = 40
	for n := range held {
		defer lock(fmt.Sprint(n))()
	}
	var crowd sync.WaitGroup
	stop := make(chan struct{})
	for n := range 8 {
		crowd.Go(func() {
			for name := fmt.Sprint("other", n); ; lock(name)() {
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	missed := 0
	for n := range 3 * held {
		if pid, _ := peer.LockedBy(filepath.Join(dir, fmt.Sprint(n%held))); pid != os.Getpid() {
			missed++
		}
	}
	close(stop)
	crowd.Wait()
	if missed > 0 {
		t.Errorf("%d of %d locks were passed over", missed, 3*held)
	}
}
