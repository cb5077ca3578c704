// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend

import (
	"context"
	"errors"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/pinpad"
)

// away is a user who does nothing, and tells when he is asked.
type away struct{ asked chan struct{} }

func (u away) AskPIN(ctx context.Context, _ Question) ([]cardbroker.Secret, error) {
	u.asked <- struct{}{}
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestEndIsNoAnswer: when the lease or the connection ends by time while the user is asked, his PIN has no answer. A back end was told
// that he took too long, now and then before it was told that the lease had expired; and the same when it came back.
func TestEndIsNoAnswer(t *testing.T) {
	late := cardbroker.Errorf(cardbroker.Timeout, "too late")
	for name, end := range map[string]func(end context.CancelCauseFunc, conn *mute){
		"the lease expires":         func(end context.CancelCauseFunc, _ *mute) { end(late) },
		"the connection takes long": func(_ context.CancelCauseFunc, conn *mute) { conn.Shutdown(late) },
	} {
		e, endLease, conn := taking()
		user := away{make(chan struct{}, 1)}
		e.tunnel.Asker, e.conn = user, newLookahead(t.Context(), conn)
		entry, err := pinpad.ParseVerify([]byte{30, 30, 0x82, 8, 0, 8, 4, 2, 0xFF, 0x09, 0x04, 0, 0, 0, 0, 13, 0, 0, 0,
			0x00, 0x20, 0x00, 0x80, 0x08, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF})
		if err != nil {
			t.Fatal(err)
		}
		e.conn.group.Go("end", func(context.Context) error { <-user.asked; end(endLease, conn); return nil })
		sw, err := e.enter(t.Context(), entry)
		if ended, ok := errors.AsType[tunnelEnd](err); !ok || ended.error != late || e.refusals != 0 {
			t.Errorf("%s: the answer is %v, %v, after %d refusals, want %v and none", name, sw, err, e.refusals, late)
		}
		endLease(nil)
		e.conn.Close()
	}
}
