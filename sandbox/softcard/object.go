// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package softcard

import (
	"crypto/rand"
	"encoding/hex"

	"github.com/cardbroker/cardbroker/apdu"
)

// The data objects, SP 800-73-4 Part 1 §4.3. The certificates' tags are in the table of slots; any other object, such as
// the printed information and the key history, is not there.
const (
	tagDiscovery apdu.Tag = 0x7E
	tagCHUID     apdu.Tag = 0x5FC102 // card holder unique identifier
	tagCCC       apdu.Tag = 0x5FC107 // card capability container
)

// getData answers with a data object, SP 800-73-4 Part 2 §3.1.2: the data are 5C{tag}.
func (p *piv) getData(c apdu.Command) ([]byte, apdu.StatusWord) {
	if c.P1 != 0x3F || c.P2 != 0xFF {
		return nil, apdu.IncorrectP1P2
	}
	name, ok := apdu.Find(c.Data, 0x5C)
	if !ok || len(name) < 1 || len(name) > 3 {
		return nil, apdu.IncorrectData
	}
	tag := apdu.Tag(0)
	for _, b := range name {
		tag = tag<<8 | apdu.Tag(b)
	}
	switch tag {
	case tagDiscovery:
		return discovery(), apdu.Success
	case tagCHUID, tagCCC:
		return p.identifiers(tag)
	}
	for _, slot := range slots() {
		if slot.certificate == tag {
			return p.certificate(slot)
		}
	}
	return nil, apdu.FileNotFound
}

// discovery says that the application PIN, and no other, satisfies the card's access rules: Part 1 §3.3.2.
func discovery() []byte {
	object := apdu.AppendTLV(nil, 0x4F, []byte(aid))
	object = apdu.AppendTLV(object, 0x5F2F, []byte{0x40, 0x00})
	return apdu.AppendTLV(nil, tagDiscovery, object)
}

// identifiers answers with the CHUID or CCC, Part 1 §3.1.1 and §3.1.2. Both rest on the card's GUID.
func (p *piv) identifiers(tag apdu.Tag) ([]byte, apdu.StatusWord) {
	guid := p.store.state.GUID
	if guid == nil {
		guid = make([]byte, guidSize)
		rand.Read(guid)
		if !p.store.update(func(s *state) { s.GUID = guid }) {
			return nil, memoryFailure
		}
	}
	if tag == tagCCC {
		return capabilities(guid), apdu.Success
	}
	return holder(guid), apdu.Success
}

// fascN is a FASC-N of no agency (9999, system 9999, credential 999999): a card outside the federal government.
const fascN = "D4E739DA739CED39CE739D836858210842108421C84210C3EB"

// holder is the CHUID, unsigned.
func holder(guid []byte) []byte {
	number, _ := hex.DecodeString(fascN)
	object := apdu.AppendTLV(nil, 0x30, number)
	object = apdu.AppendTLV(object, 0x34, guid)
	object = apdu.AppendTLV(object, 0x35, []byte("20991231")) // expires
	object = apdu.AppendTLV(object, 0x3E, nil)
	object = apdu.AppendTLV(object, 0xFE, nil)
	return apdu.AppendTLV(nil, 0x53, object)
}

// capabilities is the CCC: a card identifier, versions, and nothing else that would be used.
func capabilities(guid []byte) []byte {
	identifier := append([]byte("\xA0\x00\x00\x01\x16\xFF\x02"), guid[:14]...) // GSC-RID, manufacturer, type JavaCard, number
	object := apdu.AppendTLV(nil, 0xF0, identifier)
	object = apdu.AppendTLV(object, 0xF1, []byte{0x21}) // container version 2.1
	object = apdu.AppendTLV(object, 0xF2, []byte{0x21}) // grammar version 2.1
	object = apdu.AppendTLV(object, 0xF3, nil)
	object = apdu.AppendTLV(object, 0xF4, []byte{0x00}) // no PKCS #15
	object = apdu.AppendTLV(object, 0xF5, []byte{0x10}) // data model of PIV
	for _, empty := range []apdu.Tag{0xF6, 0xF7, 0xFA, 0xFB, 0xFC, 0xFD, 0xFE} {
		object = apdu.AppendTLV(object, empty, nil)
	}
	return apdu.AppendTLV(nil, 0x53, object)
}

// certificate answers with the slot's certificate, not compressed.
func (p *piv) certificate(slot slot) ([]byte, apdu.StatusWord) {
	key, sw := p.key(slot)
	if sw != apdu.Success {
		return nil, sw
	}
	object := apdu.AppendTLV(nil, 0x70, key.Certificate)
	object = apdu.AppendTLV(object, 0x71, []byte{0x00})
	object = apdu.AppendTLV(object, 0xFE, nil)
	return apdu.AppendTLV(nil, 0x53, object), apdu.Success
}
