// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcscd

// What clients are told of the readers, and of changes.

// startWait notes that the client waits for an event. Before 4:6 the answer is the state of the readers. From 4:6 on there
// is none, and the client asks how many readers there are and for their states: until it has got these, an event would be
// taken for the answer. A client that has not got the last event yet gets it first.
func (c *client) startWait() error {
	if err := c.passEvent(); err != nil {
		return err
	}
	c.listing = c.minor >= minorLists
	c.server.do(func(st *state) { st.startWaiting(c, !c.listing) })
	if c.listing {
		return nil
	}
	return c.send(c.server.view.Load().states[:fixedStates*stateSize])
}

// stopWait ends a wait for a change: either it is answered so, or the change is the answer.
func (c *client) stopWait() error {
	was := false
	c.listing = false
	c.server.do(func(st *state) { was = st.stopWaiting(c) })
	if was {
		return c.sendEvent(success)
	}
	return c.passEvent() // none: it has been sent before
}

// passEvent sends the event that has come, if one has and the client can take it.
func (c *client) passEvent() error {
	if c.listing {
		return nil
	}
	select {
	case code := <-c.event:
		return c.sendEvent(code)
	default:
		return nil
	}
}

// sendEvent ends the client's wait for a change.
func (c *client) sendEvent(code uint32) error {
	var b [8]byte
	put(b[:], 4, code)
	return c.send(b[:])
}

// count tells how many readers there are, empty places included.
func (c *client) count() error {
	c.counted = len(c.server.view.Load().states) / stateSize
	var b [4]byte
	put(b[:], 0, uint32(c.counted))
	return c.send(b[:])
}

// allStates tells of as many readers as were counted.
func (c *client) allStates() error {
	if c.counted < 0 {
		return errClient
	}
	if err := c.send(c.listen().states[:c.counted*stateSize]); err != nil {
		return err
	}
	return c.passEvent()
}

// listen returns what the client is told next of the readers it has counted. If it waits for an event, it gets one for
// every change after that.
func (c *client) listen() *view {
	if !c.listing {
		return c.server.view.Load()
	}
	c.listing = false
	var v *view
	c.server.do(func(st *state) {
		v = c.server.view.Load() // as the state is
		st.listen(c, c.counted)
	})
	return v
}
