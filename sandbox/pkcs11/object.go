// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package pkcs11

import (
	"encoding/binary"

	p11 "github.com/miekg/pkcs11"
)

const (
	maxObjects  = 1000 // of one kind that are looked at
	findAtOnce  = 64
	sizeOfUlong = 4 << (^uint(0) >> 63) // bytes of a CK_ULONG on Unix: as long as a Go uint
)

// find returns the objects of a class, and of an id unless that is nil: C_FindObjects, §5.7.
func (s *session) find(class uint, id []byte) ([]p11.ObjectHandle, error) {
	template := []*p11.Attribute{p11.NewAttribute(p11.CKA_CLASS, class)}
	if id != nil {
		template = append(template, p11.NewAttribute(p11.CKA_ID, id))
	}
	if err := s.ctx.FindObjectsInit(s.handle, template); err != nil {
		return nil, explain(err)
	}
	var found []p11.ObjectHandle
	for len(found) < maxObjects {
		some, _, err := s.ctx.FindObjects(s.handle, findAtOnce)
		if err != nil {
			s.ctx.FindObjectsFinal(s.handle)
			return nil, explain(err)
		}
		if len(some) == 0 {
			break
		}
		found = append(found, some...)
	}
	return found, explain(s.ctx.FindObjectsFinal(s.handle))
}

// object is an object of a session.
type object struct {
	*session
	handle p11.ObjectHandle
}

// bytes returns an attribute, C_GetAttributeValue, §5.7; nil where the object has none, or does not show it.
func (o object) bytes(attribute uint) []byte {
	found, err := o.ctx.GetAttributeValue(o.session.handle, o.handle, []*p11.Attribute{p11.NewAttribute(attribute, nil)})
	if err != nil || len(found) != 1 {
		return nil
	}
	return found[0].Value
}

// is returns an attribute that is a CK_BBOOL, or what it is taken for where the object has none.
func (o object) is(attribute uint, otherwise bool) bool {
	if b := o.bytes(attribute); len(b) == 1 {
		return b[0] != 0
	}
	return otherwise
}

// numbers returns an attribute that is one CK_ULONG or many.
func (o object) numbers(attribute uint) []uint {
	var all []uint
	for b := o.bytes(attribute); len(b) >= sizeOfUlong; b = b[sizeOfUlong:] {
		all = append(all, ulong(b))
	}
	return all
}

// ulong reads a CK_ULONG.
func ulong(b []byte) uint {
	if sizeOfUlong == 4 {
		return uint(binary.NativeEndian.Uint32(b))
	}
	return uint(binary.NativeEndian.Uint64(b))
}
