// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package softcard

import (
	"bytes"
	"crypto/rand"

	"github.com/cardbroker/cardbroker/apdu"
)

// The commands of the applet, SP 800-73-4 Part 2 §3.
const (
	insVerify              = 0x20
	insChangeReferenceData = 0x24
	insResetRetryCounter   = 0x2C
	insGeneralAuthenticate = 0x87
	insSelect              = 0xA4
	insGetData             = 0xCB
)

// The application identifier, SP 800-73-4 Part 1 §2.2: the registered provider and what it calls the application.
const (
	rid = "\xA0\x00\x00\x03\x08"
	pix = "\x00\x00\x10\x00\x01\x00"
	aid = rid + pix
)

// piv is the PIV card application. All but its store is lost with a reset.
type piv struct {
	store    *store
	selected bool
	verified bool // the PIN was right
	fresh    bool // the PIN was right and no key was used since: what 9C wants
}

// execute runs one whole command. Data come with 9000 only.
func (p *piv) execute(c apdu.Command) ([]byte, apdu.StatusWord) {
	if c.INS == insSelect {
		return p.selectApplication(c)
	}
	if !p.selected {
		return nil, apdu.InstructionNotSupported
	}
	switch c.INS {
	case insGetData:
		return p.getData(c)
	case insGeneralAuthenticate:
		return p.generalAuthenticate(c)
	case insVerify:
		return nil, p.verify(c)
	case insChangeReferenceData:
		return nil, p.changeReferenceData(c)
	case insResetRetryCounter:
		return nil, p.resetRetryCounter(c)
	}
	return nil, apdu.InstructionNotSupported
}

// selectApplication accepts the AID and what is left of it when its end is cut off, down to the RID. Anything else is not
// found and changes nothing; selecting again leaves the security status, SP 800-73-4 Part 2 §3.1.1.
func (p *piv) selectApplication(c apdu.Command) ([]byte, apdu.StatusWord) {
	if c.P1 != 0x04 || len(c.Data) < len(rid) || !bytes.HasPrefix([]byte(aid), c.Data) {
		return nil, apdu.FileNotFound
	}
	switch c.P2 {
	case 0x00: // with the application property template
	case 0x0C: // without any data
		p.selected = true
		return nil, apdu.Success
	default:
		return nil, apdu.IncorrectP1P2
	}
	p.selected = true
	template := apdu.AppendTLV(nil, 0x4F, []byte(pix))
	template = apdu.AppendTLV(template, 0x79, apdu.AppendTLV(nil, 0x4F, []byte(rid)))
	template = apdu.AppendTLV(template, 0x50, []byte("cardbroker software card"))
	return apdu.AppendTLV(nil, 0x61, template), apdu.Success
}

// generalAuthenticate signs or decrypts the challenge, SP 800-73-4 Part 2 §3.2.4: 7C{82 empty, 81 challenge}.
func (p *piv) generalAuthenticate(c apdu.Command) ([]byte, apdu.StatusWord) {
	if c.P2 == cardManagementKey {
		return administrate(c)
	}
	slot, ok := findSlot(c.P2)
	if !ok || slot.algorithm != c.P1 {
		return nil, apdu.IncorrectP1P2
	}
	fresh := p.fresh
	p.fresh = false
	if slot.pin == pinOnce && !p.verified || slot.pin == pinAlways && !fresh {
		return nil, apdu.SecurityNotSatisfied
	}
	response, wanted := apdu.Find(c.Data, 0x7C, 0x82)
	challenge, ok := apdu.Find(c.Data, 0x7C, 0x81)
	if !wanted || len(response) > 0 || !ok {
		return nil, apdu.IncorrectData
	}
	key, sw := p.key(slot)
	if sw != apdu.Success {
		return nil, sw
	}
	result, ok := key.use(challenge)
	if !ok {
		return nil, apdu.IncorrectData
	}
	return apdu.AppendTLV(nil, 0x7C, apdu.AppendTLV(nil, 0x82, result)), apdu.Success
}

// cardManagementKey is the reference 9B, SP 800-73-4 Part 1 table 4b, and the algorithms that such a key may have are 3DES
// and AES, SP 800-78-4 table 6-2. The software card has no such key.
const (
	cardManagementKey  = 0x9B
	algorithm3DES      = 0x00
	algorithm3DESToo   = 0x03
	algorithmAESLeast  = 0x08
	algorithmAESMost   = 0x0C
	challengeSize      = 8 // bytes, of 3DES
	challengeSizeOfAES = 16
)

// administrate gives whoever asks the challenge that begins an authentication of an administrator, SP 800-73-4 Part 2
// §A.1: programs take it for random numbers. Nobody can answer it.
func administrate(c apdu.Command) ([]byte, apdu.StatusWord) {
	challenge := make([]byte, challengeSize)
	switch {
	case c.P1 == algorithm3DES || c.P1 == algorithm3DESToo:
	case c.P1 >= algorithmAESLeast && c.P1 <= algorithmAESMost && c.P1%2 == 0:
		challenge = make([]byte, challengeSizeOfAES)
	default:
		return nil, apdu.IncorrectP1P2
	}
	wanted, ok := apdu.Find(c.Data, 0x7C, 0x81)
	if !ok || len(wanted) > 0 {
		return nil, apdu.SecurityNotSatisfied
	}
	rand.Read(challenge)
	return apdu.AppendTLV(nil, 0x7C, apdu.AppendTLV(nil, 0x81, challenge)), apdu.Success
}

// key returns the key of the slot and makes it when it is needed for the first time.
func (p *piv) key(slot slot) (key, apdu.StatusWord) {
	if key, ok := p.store.state.Keys[slot.name]; ok {
		return key, apdu.Success
	}
	key, err := newKey(slot)
	if err != nil {
		p.store.log.Error("cannot make a key of the software card", "slot", slot.name, "err", err)
		return key, apdu.NoDiagnosis
	}
	if !p.store.update(func(s *state) { s.Keys[slot.name] = key }) {
		return key, memoryFailure
	}
	return key, apdu.Success
}
