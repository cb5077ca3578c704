// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/token"
)

// place is where a request finds its token.
type place struct {
	module  config.Module
	id      cardbroker.ReaderID // as the asker knows it: a reader's, or a slot's
	reader  string              // PC/SC's name of it; of a module whose tokens are no cards: what stands for it
	slot    token.Slot
	card    bool             // it is one in a PC/SC reader of the session
	present *cardbroker.Card // what tells this insertion of a card from the next; nil: not known
	at      time.Time        // when it was found
}

// same says whether another place has the same token, which is no card.
func (a place) same(b place) bool {
	return !a.card && !b.card && a.module.Name == b.module.Name && a.slot.Description == b.slot.Description &&
		a.slot.Token.Serial == b.slot.Token.Serial && a.slot.Token.Label == b.slot.Token.Label
}

// place finds the slot that a request names, by the id of its reader or its own. Errors: ObjectUnknown, ReaderUnknown,
// CardAbsent (the slot is empty), CardUnexpected (the module does not know the card), ReaderBusy (a back end has the reader for itself, which a
// module takes for an empty one), and of the module's process.
func (p *PKI) place(r *http.Request) (place, error) {
	found, err := p.emptyPlace(r)
	if err == nil && found.slot.Token == nil {
		err = p.absent(r.Context(), found)
	}
	if err != nil && found.card && p.cfg.Free != nil {
		if busy := p.cfg.Free(found.reader); busy != nil {
			err = busy
		}
	}
	found.present, found.at = p.present(found), time.Now()
	return found, err
}

// emptyPlace is place for a slot that may have no token.
func (p *PKI) emptyPlace(r *http.Request) (place, error) {
	ctx, found := r.Context(), place{id: cardbroker.ReaderID(r.PathValue("id"))}
	var err error
	if found.module, err = p.module(r.PathValue("module")); err != nil {
		return found, err
	}
	slots, err := p.slots(ctx, found.module, false)
	if err != nil {
		return found, err
	}
	for _, slot := range slots {
		if p.slotID(found.module, slot) == found.id {
			found.slot = slot
			found.reader, found.card, err = p.readerOf(ctx, found.module, slot)
			return found, err
		}
	}
	readers, err := p.cfg.Readers(ctx)
	if err != nil {
		return found, err
	}
	for _, reader := range readers {
		if cardbroker.NewReaderID(p.cfg.Secret, reader.Name) == found.id {
			found.reader, found.card = reader.Name, found.module.PCSC
			found.slot, err = slotIn(slots, reader.Name, readers)
			return found, err
		}
	}
	return found, cardbroker.Errorf(cardbroker.ReaderUnknown, "there is no such reader in this session, and no such slot of the module")
}

// slots lists a module's slots, or those with a token. Where policy excludes readers, a module with PC/SC has those in the session's
// readers only: what a slot is called is the library's choice, so of another nobody knows which reader it is in.
func (p *PKI) slots(ctx context.Context, m config.Module, present bool) ([]token.Slot, error) {
	all, err := p.cfg.Tokens.Slots(ctx, m.Name, present)
	if err != nil || !m.PCSC || !p.cfg.Excludes {
		return all, err
	}
	shown := make([]token.Slot, 0, len(all))
	for _, slot := range all {
		_, card, err := p.readerOf(ctx, m, slot)
		if err != nil {
			return nil, err
		}
		if card {
			shown = append(shown, slot)
		}
	}
	return shown, nil
}

// slotID is the id of a slot with what is in it: a page that keeps it never meets another token.
func (p *PKI) slotID(m config.Module, slot token.Slot) cardbroker.ReaderID {
	serial := ""
	if slot.Token != nil {
		serial = slot.Token.Serial
	}
	return cardbroker.NewSlotID(p.cfg.Secret, m.Name, slot.Description, serial)
}

// maxDescription is the length of CK_SLOT_INFO's slotDescription, in bytes: longer names of readers are cut off there.
const maxDescription = 64

// isIn says whether a slot is in the reader of that name: its description is the name or its beginning, as far as there is
// room for it, or begins with it.
func isIn(slot token.Slot, reader string) bool {
	description, reader := strings.TrimRight(slot.Description, " "), cut(reader)
	return description == reader || strings.HasPrefix(description, reader+" ")
}

// cut returns as much of a reader's name as a description has room for.
func cut(reader string) string {
	if len(reader) > maxDescription {
		return strings.TrimRight(reader[:maxDescription], " ")
	}
	return reader
}

// readerIn names the reader that a slot is in: of several whose names fit, that of the longest name. One that the description leaves no room to
// tell from another is none: many is true.
func readerIn(slot token.Slot, readers []cardbroker.Reader) (name string, many bool) {
	best := 0
	for _, reader := range readers {
		if n := len(cut(reader.Name)); isIn(slot, reader.Name) && n >= best {
			name, many, best = reader.Name, n == best, n
		}
	}
	return name, many
}

// slotIn returns the slot of a reader, of all those of the session: one with a token, if there are several.
func slotIn(slots []token.Slot, reader string, readers []cardbroker.Reader) (found token.Slot, err error) {
	err = cardbroker.Errorf(cardbroker.ObjectUnknown, "the module has no slot for this reader: it knows others only, see /cb/v1/modules/{module}/slots")
	for _, slot := range slots {
		if !isIn(slot, reader) {
			continue
		}
		name, many := readerIn(slot, readers)
		if many {
			return slot, cardbroker.Errorf(cardbroker.ObjectUnknown,
				"the names of several readers begin alike, and the module knows no more of them: use the id of a slot, see /cb/v1/modules/{module}/slots")
		}
		if name == reader && (err != nil || found.Token == nil && slot.Token != nil) {
			found, err = slot, nil
		}
	}
	return found, err
}

// readerOf returns the reader of the session that a slot is in. If there is none, as for a token that is no card, or nobody can tell which,
// it is a name that no reader has.
func (p *PKI) readerOf(ctx context.Context, m config.Module, slot token.Slot) (name string, card bool, err error) {
	name = m.Name + ": " + strings.TrimRight(slot.Description, " ")
	if !m.PCSC {
		return name, false, nil
	}
	readers, err := p.cfg.Readers(ctx)
	if err != nil {
		return "", false, err
	}
	if in, many := readerIn(slot, readers); in != "" && !many {
		return in, true, nil
	}
	return name, false, nil
}

// absent says why a slot is empty.
func (p *PKI) absent(ctx context.Context, in place) error {
	if in.card {
		readers, err := p.cfg.Readers(ctx)
		if err != nil {
			return err
		}
		for _, reader := range readers {
			if reader.Name == in.reader && reader.Card != nil {
				return cardbroker.Errorf(cardbroker.CardUnexpected, "the module does not know the card in the reader")
			}
		}
	}
	return cardbroker.Errorf(cardbroker.CardAbsent, "there is no token in the slot")
}

// present returns what tells one insertion of a card from the next.
func (p *PKI) present(in place) *cardbroker.Card {
	if in.card {
		return p.cfg.Present(in.reader)
	}
	return p.soft
}

// ask asks the token of a place something that needs no PIN.
func (p *PKI) ask(ctx context.Context, in place, q token.Question) (token.Answer, error) {
	if p.present(in) != in.present {
		return token.Answer{}, removed()
	}
	return p.do(ctx, in, q)
}

// do asks the very token of a place, and no other that has come into its slot since. It owns the secrets, and overwrites them. Errors:
// ObjectUnknown, before anything is done: the token is another one.
func (p *PKI) do(ctx context.Context, in place, q token.Question, secrets ...cardbroker.Secret) (token.Answer, error) {
	q.Serial = in.slot.Token.Serial
	return p.cfg.Tokens.Do(ctx, in.module.Name, in.slot, q, secrets...)
}

func removed() error { return cardbroker.Errorf(cardbroker.CardRemoved, "the token was removed") }

// fresh is how long a token counts as just found that has no reader whose turn could be had. Who asks his user takes longer.
const fresh = time.Second

// lend takes the turn at the token of a place, and finds it there again, with its flags as they are now. Errors: as of Lend and
// Slots; CardRemoved: it is gone, or another.
func (p *PKI) lend(ctx context.Context, in place) (_ place, loan Loan, err error) {
	loan = unlent{}
	switch {
	case !in.card && time.Since(in.at) < fresh:
		return in, loan, nil
	case in.card && p.cfg.Lend != nil:
		if loan, err = p.cfg.Lend(ctx, in.reader); err != nil {
			return in, nil, err
		}
	}
	slots, err := p.slots(ctx, in.module, false)
	if err == nil && p.present(in) == in.present {
		for _, slot := range slots {
			if slot.Token != nil && slot.Description == in.slot.Description && slot.Token.Serial == in.slot.Token.Serial &&
				slot.Token.Label == in.slot.Token.Label { // some modules have a card stand for several tokens, one for each of its PINs
				in.slot = slot
				return in, loan, nil
			}
		}
	}
	loan.Close()
	if err == nil {
		err = removed()
	}
	return in, nil, err
}

// unlent is the loan of what needs none.
type unlent struct{}

// Close implements [Loan].
func (unlent) Close() error { return nil }

// listSlots lists the slots of a module; ?present=true those with a token.
func (p *PKI) listSlots(w http.ResponseWriter, r *http.Request) error {
	m, err := p.module(r.PathValue("module"))
	if err != nil {
		return err
	}
	present, _, err := httpserver.QueryBool(r.URL.Query(), "present")
	if err != nil {
		return err
	}
	slots, err := p.slots(r.Context(), m, present)
	if err != nil {
		return err
	}
	rows := []api.Slot{}
	for _, slot := range slots {
		row := api.Slot{
			ID: p.slotID(m, slot), Description: slot.Description, ManufacturerID: slot.Manufacturer,
			HardwareVersion: slot.Hardware, FirmwareVersion: slot.Firmware,
		}
		if reader, card, err := p.readerOf(r.Context(), m, slot); err == nil && card {
			row.Reader = cardbroker.NewReaderID(p.cfg.Secret, reader)
		}
		if slot.Token != nil {
			row.Token = &api.SlotToken{Label: slot.Token.Label, SerialNumber: slot.Token.Serial, Model: slot.Token.Model, ManufacturerID: slot.Token.Manufacturer}
		}
		rows = append(rows, row)
	}
	return httpserver.JSON(w, api.Slots{Slots: rows})
}
