// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend

import (
	"errors"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/script"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// request is a frame of the back end that is executed; the fields of its type are set.
type request struct {
	kind        wire.Type
	command     []byte                 // APDU
	share       cardbroker.ShareMode   // Connect
	disposition cardbroker.Disposition // Disconnect, End
	lease       time.Duration          // Renew
	number      uint32                 // Control: the code; Attribute: which
	input       []byte                 // Control
	script      script.Part            // Script
	judge       bool                   // Script: it is to be judged only
}

// parseRequest reads a frame. One that is malformed, or not for the holder of a card, is Invalid.
func parseRequest(kind wire.Type, p []byte) (r request, err error) {
	r.kind = kind
	switch kind {
	case wire.TypeAPDU:
		r.command = p // judged by the firewall
	case wire.TypeConnect:
		var m wire.Connect
		m, err = wire.ParseConnect(p)
		r.share = m.Share
	case wire.TypeDisconnect, wire.TypeEnd:
		r.disposition, err = wire.ParseDisposition(p)
	case wire.TypeControl:
		r.number, r.input, err = wire.ParseControl(p)
	case wire.TypeAttribute:
		r.number, err = wire.ParseAttribute(p)
	case wire.TypeRenew:
		r.lease, err = wire.ParseLease(p)
	case wire.TypeScript:
		r.script, err = script.ParsePart(p)
	case wire.TypeBegin:
		if len(p) != 0 {
			err = invalid("Begin has %d bytes, want 0", len(p))
		}
	default:
		err = invalid("a frame of type %d is not for the holder of a card", kind)
	}
	return r, err
}

func invalid(format string, args ...any) error {
	return cardbroker.Errorf(cardbroker.Invalid, format, args...)
}

// shown returns what the back end may see of err: its cause stays here.
func shown(err error) *cardbroker.Error {
	reason := cardbroker.ReasonOf(err)
	if e, ok := errors.AsType[*cardbroker.Error](err); ok && reason != cardbroker.Internal {
		return e
	}
	return cardbroker.Errorf(reason, "the holder of the card failed")
}
