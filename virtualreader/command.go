// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package virtualreader

import (
	"context"
	"slices"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// Answer is a response APDU and where the time went.
type Answer struct {
	Response []byte        // 2 to 65,538 bytes; the caller's
	Total    time.Duration // from the call to its end
	Network  time.Duration // Total less Agent
	Queue    time.Duration // waiting for the reader
	Card     time.Duration // in the card and what drives it
	Agent    time.Duration // at the agent: Queue, Card and what it takes itself
}

// Transmit sends a command APDU, 4 to 65,544 bytes, to the card and returns its answer; it connects to the card if
// [Tunnel.Connect] has not. Nobody may change the command until Transmit returns: if the connection is cut it is sent again, and
// nothing of it is kept elsewhere. Indeterminate: the command may have run, because ctx or the tunnel ended before the answer
// ([Tunnel.Err] says why), or because the agent or the card was lost meanwhile (the tunnel goes on). Where ctx ends before the
// command was sent, the error is its own. Other reasons: Invalid (malformed), Forbidden (firewall), CardAbsent, CardRemoved,
// CardReset (Connect goes on), CardMute, ReaderBusy, Unavailable.
func (t *Tunnel) Transmit(ctx context.Context, command []byte) (Answer, error) {
	if len(command) > wire.MaxPayload {
		return Answer{}, cardbroker.Errorf(cardbroker.Invalid, "a command APDU has %d bytes", len(command))
	}
	start := time.Now()
	payload, err := t.ask(ctx, wire.TypeAPDU, command, wire.TypeAPDUResponse)
	if err != nil {
		return Answer{}, err
	}
	total := time.Since(start)
	times, response, err := wire.ParseTimes(payload)
	if err != nil {
		return Answer{}, t.broken("an answer without a response APDU")
	}
	return Answer{
		Response: response,
		Total:    total,
		Network:  max(0, total-times.Agent),
		Queue:    times.Queue,
		Card:     times.Card,
		Agent:    times.Agent,
	}, nil
}

// Connect connects to the card, anew if it was connected: that goes on after a card was removed or reset. When it returns, the newest
// event of cards before that one is in [Tunnel.Events], or was. Reasons: CardAbsent, CardMute, ReaderBusy, Unavailable.
func (t *Tunnel) Connect(ctx context.Context, share cardbroker.ShareMode) (cardbroker.Card, error) {
	payload, err := t.ask(ctx, wire.TypeConnect, wire.Connect{Share: share}.Append(nil), wire.TypeConnected)
	if err != nil {
		return cardbroker.Card{}, err
	}
	in, err := wire.ParseCardIn(payload)
	if err != nil {
		return cardbroker.Card{}, err
	}
	return cardbroker.Card{ATR: slices.Clone(in.ATR), Protocol: in.Protocol}, nil
}

// Disconnect ends the connection to the card; the tunnel and its lease go on.
func (t *Tunnel) Disconnect(ctx context.Context, d cardbroker.Disposition) error {
	_, err := t.ask(ctx, wire.TypeDisconnect, wire.AppendDisposition(nil, d), wire.TypeDone)
	return err
}

// Begin begins a transaction: nobody else reaches the card until End. It waits for one of somebody else's to end.
func (t *Tunnel) Begin(ctx context.Context) error {
	_, err := t.ask(ctx, wire.TypeBegin, nil, wire.TypeDone)
	return err
}

// End ends the transaction.
func (t *Tunnel) End(ctx context.Context, d cardbroker.Disposition) error {
	_, err := t.ask(ctx, wire.TypeEnd, wire.AppendDisposition(nil, d), wire.TypeDone)
	return err
}

// Control calls a function of the reader, as SCardControl does, and returns what it returns. Code is as pcsc-lite numbers
// them. Reasons: Forbidden (the holder's policy), Unsupported (the reader has no such function), and as of Transmit.
func (t *Tunnel) Control(ctx context.Context, code uint32, input []byte) ([]byte, error) {
	if len(input) > wire.MaxPayload-4 {
		return nil, cardbroker.Errorf(cardbroker.Invalid, "a function of a reader is given %d bytes", len(input))
	}
	return t.ask(ctx, wire.TypeControl, wire.AppendControl(nil, code, input), wire.TypeControlled)
}

// Attribute returns an attribute of the reader or card, PC/SC Part 3 §3.1.2, as SCardGetAttrib does. Reasons: Forbidden,
// Unsupported (there is none of that number), and as of Connect.
func (t *Tunnel) Attribute(ctx context.Context, id uint32) ([]byte, error) {
	return t.ask(ctx, wire.TypeAttribute, wire.AppendAttribute(nil, id), wire.TypeValue)
}

// Renew makes the lease last for d from now, in whole seconds, and returns for how long it does: the holder has a limit.
func (t *Tunnel) Renew(ctx context.Context, d time.Duration) (time.Duration, error) {
	payload, err := t.ask(ctx, wire.TypeRenew, wire.AppendLease(nil, d), wire.TypeLease)
	if err != nil {
		return 0, err
	}
	return wire.ParseLease(payload)
}
