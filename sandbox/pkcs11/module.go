// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package pkcs11

import (
	"fmt"
	"strings"

	p11 "github.com/miekg/pkcs11"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/library"
	"github.com/cardbroker/cardbroker/internal/token"
	"github.com/cardbroker/cardbroker/sandbox"
)

var _ sandbox.Tokens = (*module)(nil)

// module is a loaded and initialised library.
type module struct {
	ctx   *p11.Ctx
	names map[uint]string // of mechanisms
}

// Open loads the library, which runs its code, and initialises it for use by several threads. A process opens one. Errors:
// Unavailable, with the cause: the library is not there, for another machine, no PKCS#11 library, or refuses to work.
func Open(path string) (sandbox.Tokens, error) {
	ctx := p11.New(path)
	if ctx == nil { // only now is the file looked at: that takes memory
		if err := library.Check(path); err != nil {
			return nil, err
		}
		return nil, library.Unloadable(path)
	}
	if err := ctx.Initialize(); err != nil {
		return nil, cardbroker.Wrapf(err, cardbroker.Unavailable, "%s does not start: C_Initialize says %s", path, nameOf(codeOf(err)))
	}
	return &module{ctx: ctx, names: mechanismNames()}, nil
}

// Close is C_Finalize, §5.4.
func (m *module) Close() error { return explain(m.ctx.Finalize()) }

// Info is C_GetInfo, §5.4.
func (m *module) Info() (token.Library, error) {
	info, err := m.ctx.GetInfo()
	if err != nil {
		return token.Library{}, explain(err)
	}
	return token.Library{
		Cryptoki:     version(info.CryptokiVersion),
		Manufacturer: text(info.ManufacturerID),
		Description:  text(info.LibraryDescription),
		Version:      version(info.LibraryVersion),
		Flags:        info.Flags,
	}, nil
}

// maxLists is how often the list is asked for that grows meanwhile.
const maxLists = 10

// Slots is C_GetSlotList, §5.5, which is where a library looks for readers and cards.
func (m *module) Slots(present bool) ([]token.Slot, error) {
	var ids []uint
	var err error
	for range maxLists {
		if ids, err = m.ctx.GetSlotList(present); codeOf(err) != p11.CKR_BUFFER_TOO_SMALL {
			break
		}
	}
	if err != nil {
		return nil, explain(err)
	}
	var slots []token.Slot
	for _, id := range ids {
		slot, err := m.slot(id)
		switch codeOf(err) {
		case p11.CKR_OK:
			if slot.Token != nil || !present {
				slots = append(slots, slot)
			}
		case p11.CKR_SLOT_ID_INVALID, p11.CKR_DEVICE_ERROR, p11.CKR_DEVICE_REMOVED: // it has gone meanwhile, or another program has its reader
		default:
			return nil, explain(err)
		}
	}
	return slots, nil
}

// slot is C_GetSlotInfo and C_GetTokenInfo. A token that cannot be told is none: others may be good.
func (m *module) slot(id uint) (token.Slot, error) {
	info, err := m.ctx.GetSlotInfo(id)
	if err != nil {
		return token.Slot{}, err
	}
	slot := token.Slot{
		ID:           id,
		Description:  text(info.SlotDescription),
		Manufacturer: text(info.ManufacturerID),
		Flags:        info.Flags,
		Hardware:     version(info.HardwareVersion),
		Firmware:     version(info.FirmwareVersion),
	}
	if info.Flags&p11.CKF_TOKEN_PRESENT != 0 {
		if is, err := m.ctx.GetTokenInfo(id); err == nil {
			slot.Token = describe(is)
		}
	}
	return slot, nil
}

// describe turns CK_TOKEN_INFO into ours.
func describe(is p11.TokenInfo) *token.Token {
	return &token.Token{
		Label:              text(is.Label),
		Manufacturer:       text(is.ManufacturerID),
		Model:              text(is.Model),
		Serial:             text(is.SerialNumber),
		Flags:              is.Flags,
		MaxSessions:        number(is.MaxSessionCount),
		Sessions:           number(is.SessionCount),
		MaxRWSessions:      number(is.MaxRwSessionCount),
		RWSessions:         number(is.RwSessionCount),
		MaxPIN:             int(number(is.MaxPinLen)),
		MinPIN:             int(number(is.MinPinLen)),
		TotalPublicMemory:  number(is.TotalPublicMemory),
		FreePublicMemory:   number(is.FreePublicMemory),
		TotalPrivateMemory: number(is.TotalPrivateMemory),
		FreePrivateMemory:  number(is.FreePrivateMemory),
		Hardware:           version(is.HardwareVersion),
		Firmware:           version(is.FirmwareVersion),
	}
}

// unavailable is CK_UNAVAILABLE_INFORMATION.
const unavailable = ^uint(0)

func number(n uint) int64 {
	if n == unavailable {
		return -1
	}
	return int64(n)
}

func version(v p11.Version) string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// text is without what fills it up, and is what JSON can carry.
func text(s string) string { return strings.ToValidUTF8(strings.TrimRight(s, " \x00"), "?") }

// Ask implements sandbox.Tokens.
func (m *module) Ask(slot uint, q token.Question, secrets []cardbroker.Secret) (token.Answer, error) {
	a := ask{module: m, slot: slot, Question: q, secrets: secrets}
	switch q.Call {
	case token.CallToken:
		return a.token()
	case token.CallObjects:
		return a.objects()
	case token.CallLogin:
		return token.Answer{}, a.within(p11.CKF_SERIAL_SESSION, func(s *session) error { return s.login(p11.CKU_USER) })
	case token.CallSign:
		return a.sign()
	case token.CallVerify:
		return a.verify()
	case token.CallChangePIN:
		return token.Answer{}, a.within(readWrite, changePIN)
	case token.CallUnblock:
		return token.Answer{}, a.unblock()
	}
	return token.Answer{}, cardbroker.Errorf(cardbroker.Invalid, "%s is not asked of a slot", q.Call)
}

// ask is one question under way.
type ask struct {
	*module
	token.Question
	slot    uint
	secrets []cardbroker.Secret
}

// token is C_GetTokenInfo, C_GetMechanismList and C_GetMechanismInfo, §5.5.
func (a ask) token() (token.Answer, error) {
	info, err := a.ctx.GetTokenInfo(a.slot)
	if err != nil {
		return token.Answer{}, explain(err)
	}
	if err := a.meant(info); err != nil {
		return token.Answer{}, err
	}
	list, err := a.ctx.GetMechanismList(a.slot)
	if err != nil {
		return token.Answer{}, explain(err)
	}
	is := describe(info)
	for _, mechanism := range list {
		m := token.Mechanism{Type: mechanism.Mechanism, Name: a.names[mechanism.Mechanism]}
		if info, err := a.ctx.GetMechanismInfo(a.slot, []*p11.Mechanism{mechanism}); err == nil {
			m.Flags, m.MinKey, m.MaxKey = info.Flags, info.MinKeySize, info.MaxKeySize
		}
		is.Mechanisms = append(is.Mechanisms, m)
	}
	return token.Answer{Token: is}, nil
}
