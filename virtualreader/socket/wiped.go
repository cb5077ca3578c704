// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"reflect"
	"sync"
)

// wiped is gorilla's pool of the buffers that messages are sent from. A server's are not masked, and whoever relays a tunnel shall keep
// no PIN that went through it. It may be used by any number of goroutines.
type wiped struct{ pool sync.Pool }

// Get implements websocket.BufferPool.
func (w *wiped) Get() any { return w.pool.Get() }

// Put implements websocket.BufferPool. What gorilla puts is a struct of its own, with the buffer in it.
func (w *wiped) Put(used any) {
	v := reflect.ValueOf(used)
	for i := range v.NumField() {
		if field := v.Field(i); field.Kind() == reflect.Slice {
			clear(field.Bytes())
		}
	}
	w.pool.Put(used)
}
