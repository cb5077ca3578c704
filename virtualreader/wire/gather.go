// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package wire

import "bytes"

// Gathering joins the frames that [SendFrames] has sent: of a script, a question or its answer. The zero Gathering has none.
type Gathering struct {
	Max     int // bytes of a whole
	head    Header
	payload []byte
}

// Gather takes a frame. Of a type that has FlagMore it returns the whole, in a buffer of its own, which the caller wipes; until its last frame
// has come there is nothing (false), and any other frame is Invalid. Frames of another type pass as they are.
func (g *Gathering) Gather(head Header, payload []byte) (Header, []byte, bool, error) {
	pending := len(g.payload) > 0
	if !pending && head.Flags&FlagMore == 0 {
		if flagsOf(head.Type)&FlagMore != 0 {
			payload = bytes.Clone(payload)
		}
		return head, payload, true, nil
	}
	first := g.head
	if !pending {
		first = head
	}
	if head.Type != first.Type || head.Seq != first.Seq || head.Flags|FlagMore != first.Flags || head.Reader != first.Reader {
		return head, nil, false, invalid("a frame of type %d with seq %d comes in the middle of a longer message", head.Type, head.Seq)
	}
	if len(payload) == 0 || len(g.payload)+len(payload) > g.Max {
		return head, nil, false, invalid("the frames of a message are empty, or have more than %d bytes", g.Max)
	}
	if !pending {
		g.payload = make([]byte, 0, g.Max) // at once: what a buffer leaves behind that grows, nobody wipes
	}
	g.head, g.payload = first, append(g.payload, payload...)
	if head.Flags&FlagMore != 0 {
		return head, nil, false, nil
	}
	whole := g.payload
	g.head, g.payload = Header{}, nil
	return head, whole, true, nil
}

// Drop forgets, and wipes, the frames of a message whose rest does not come: over another connection they come again.
func (g *Gathering) Drop() {
	clear(g.payload)
	g.head, g.payload = Header{}, nil
}
