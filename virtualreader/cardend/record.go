// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"hash"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/journal"
	"github.com/cardbroker/cardbroker/virtualreader/wire"
)

// Note says of a lease, in its journal, what the next process has to know to hold it. It holds no secret.
type Note struct {
	Tunnel     string                `json:"tunnel"`
	Tenant     cardbroker.Tenant     `json:"tenant"`
	Method     string                `json:"method"`
	Backend    string                `json:"backend"`
	Reader     string                `json:"reader"`
	Origin     cardbroker.Origin     `json:"origin,omitempty"`
	Standing   bool                  `json:"standing,omitempty"`
	Share      cardbroker.ShareMode  `json:"share"`
	Durability cardbroker.Durability `json:"durability"`
	Since      time.Time             `json:"since"`
	Expires    time.Time             `json:"expires"`
	Token      string                `json:"token"` // SHA-256 of the resume token's secret, hexadecimal
}

// token is what takes a lease up again: the zero token is none.
type token struct {
	hash [32]byte // of its secret, which only the back end keeps
}

// none says whether there is no token: the lease ends with its connection.
func (t token) none() bool { return t == token{} }

// journalKey returns what the frames of a lease are hashed with. It comes from the resume token's secret, which the disk does not
// have: who reads the journal cannot try PINs against it.
func journalKey(secret cardbroker.Secret, tunnel TunnelID) hash.Hash {
	mac := hmac.New(sha256.New, secret.Reveal())
	mac.Write([]byte("cardbroker journal\x00"))
	mac.Write(tunnel[:])
	return hmac.New(sha256.New, mac.Sum(nil))
}

// begin makes the lease outlive its connection, if the back end or policy wants that: it makes the resume token and the journal.
func (e *exchange) begin(wanted cardbroker.Durability, lease time.Duration) (cardbroker.Secret, error) {
	e.durability = max(wanted, e.tunnel.Durability)
	e.since = time.Now()
	e.expires = e.since.Add(lease)
	if e.durability == cardbroker.DurabilityNone || e.tunnel.Route == "" {
		return cardbroker.Secret{}, nil
	}
	if e.holder.journals.None() {
		if e.durability == cardbroker.DurabilityPower {
			return cardbroker.Secret{}, cardbroker.Errorf(cardbroker.Unsupported, "the agent has no local folder for the journals of leases; durability power is not to be had")
		}
	}
	secret := cardbroker.RandomSecret()
	e.token = token{hash: secret.Hash()}
	e.mac = journalKey(secret, e.tunnel.ID)
	return cardbroker.NewSecret([]byte(cardbroker.Ticket{Route: e.tunnel.Route, Secret: secret, Resume: true}.Reveal())), nil
}

// openJournal makes the journal, once the lease is held.
func (e *exchange) openJournal() (err error) {
	if e.token.none() || e.holder.journals.None() {
		return nil
	}
	note, err := e.note()
	if err != nil {
		return err
	}
	e.journal, err = e.holder.journals.Create(e.tunnel.ID.String(), note, e.durability)
	return err
}

func (e *exchange) note() ([]byte, error) {
	return json.Marshal(Note{
		Tunnel:     e.tunnel.ID.String(),
		Tenant:     e.tunnel.Tenant,
		Method:     e.tunnel.Method,
		Backend:    e.tunnel.Backend,
		Reader:     e.tunnel.Reader,
		Origin:     e.tunnel.Origin,
		Standing:   e.tunnel.Standing,
		Share:      e.share,
		Durability: e.durability,
		Since:      e.since.UTC(),
		Expires:    e.expires.UTC(),
		Token:      hex.EncodeToString(e.token.hash[:]),
	})
}

// noteExpires writes down that the lease lasts longer now.
func (e *exchange) noteExpires(at time.Time) error {
	e.expires = at
	if e.journal == nil {
		return nil
	}
	note, err := e.note()
	if err != nil {
		return err
	}
	return e.journal.Note(note)
}

// executing records that the card is about to get the last frame's command. Without that it does not get it.
func (e *exchange) executing() error {
	if e.journal == nil || e.recorded {
		return nil
	}
	if err := e.journal.Executing(e.seq, e.digest); err != nil {
		return err
	}
	e.recorded, e.step = true, -1
	return nil
}

// executed records the answer to a frame that was executing.
func (e *exchange) executed() error {
	if !e.recorded {
		return nil
	}
	return e.journal.Done(journal.Answer{Type: uint8(e.kind), Payload: e.payload})
}

// closeJournal ends the journal with its lease; one that the next process goes on with stays.
func (e *exchange) closeJournal(stays bool) {
	switch {
	case e.journal == nil:
	case stays:
		e.journal.Close()
	default:
		e.journal.Remove()
	}
}

// adopt takes over what the journal of an earlier process says. What was executing when that process ended may have run.
func (e *exchange) adopt(s journal.State) {
	e.restored, e.used = true, true
	e.lost = cardbroker.Errorf(cardbroker.CardReset, "the agent was restarted; connect to the card again")
	e.seq, e.digest = s.Seq, s.Digest
	switch {
	case s.Seq == 0:
	case s.Answer != nil:
		e.kind, e.payload = wire.Type(s.Answer.Type), s.Answer.Payload
	case len(s.Steps) > 0:
		result := interrupted(s.Steps)
		e.meter.Failed(time.Now(), result.Why)
		e.kind, e.payload = wire.TypeScriptResult, result.Append(nil)
	default:
		why := cardbroker.Errorf(cardbroker.Indeterminate, "the agent ended while the card had the command")
		e.meter.Failed(time.Now(), why)
		e.kind, e.payload = wire.TypeError, wire.AppendError(nil, why)
	}
}
