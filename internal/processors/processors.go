// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package processors says on how many processors a process runs Go at once.
//
// A host of a thousand sessions has as many agents, nearly all of which rest. For each processor that it may use a Go process keeps memory,
// and wakes up threads that look for work and find none: on a machine of 64 an agent had twice the memory that it has with two, and three
// times the context switches. What an agent does for its user takes turns on one processor sooner than another one is woken up for it.
package processors

import (
	"runtime"
	"sync"
)

// Few is one processor, and more while somebody has much to do. Any number of goroutines may use it.
type Few struct {
	least int // 1, or what the environment names

	lock sync.Mutex
	two  int // how many want two
	all  int // how many want all
}

// New leaves one processor to this process, or as many as its environment names; there is to be one Few. It may start the program anew,
// with the same arguments, environment and descriptors, and is called before anything else is done.
func New() *Few {
	f := &Few{least: least()}
	runtime.GOMAXPROCS(f.least)
	return f
}

// Two gives the process a second processor until back is called, once: for what computes so long that everything else would wait. Of a nil
// Few this and All leave the process as it is.
func (f *Few) Two() (back func()) {
	if f == nil {
		return func() {}
	}
	f.want(1, 0)
	return func() { f.want(-1, 0) }
}

// All gives the process all the processors that the system lets it have until back is called, once.
func (f *Few) All() (back func()) {
	if f == nil {
		return func() {}
	}
	f.want(0, 1)
	return func() { f.want(0, -1) }
}

// want has the runtime do what is wanted from now on. All goroutines stand still for some 20 µs if that is anything else than before.
func (f *Few) want(two, all int) {
	f.lock.Lock()
	defer f.lock.Unlock()
	f.two += two
	f.all += all
	switch {
	case f.all > 0:
		runtime.SetDefaultGOMAXPROCS()
	case f.two > 0:
		runtime.GOMAXPROCS(max(2, f.least))
	default:
		runtime.GOMAXPROCS(f.least)
	}
}
