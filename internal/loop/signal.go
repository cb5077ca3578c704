// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package loop

// Signal says on a channel of capacity 1 that a View is new. It waits for nobody: a signal that was not taken yet says so
// already, and who takes it reads the View again.
func Signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
