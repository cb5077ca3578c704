// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package pkcs11

import (
	"encoding/binary"
	"maps"

	p11 "github.com/miekg/pkcs11"
)

const (
	maxObjects  = 1000 // of one kind that are looked at
	findAtOnce  = 64
	sizeOfUlong = 4 << (^uint(0) >> 63) // bytes of a CK_ULONG on Unix: as long as a Go uint
)

// find returns the objects of a class that have those attributes: C_FindObjects, §5.7.
func (s *session) find(class uint, has ...*p11.Attribute) ([]p11.ObjectHandle, error) {
	if err := s.ctx.FindObjectsInit(s.handle, append(has, p11.NewAttribute(p11.CKA_CLASS, class))); err != nil {
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

// attributes are what an object shows of itself, by type.
type attributes map[uint][]byte

// look returns those of an object's attributes that it has and shows: C_GetAttributeValue, §5.7. They are asked for at once, for each call may
// read the token; and one by one where one is not there, for the binding tells of no other then.
func (s *session) look(handle p11.ObjectHandle, types ...uint) attributes {
	all := make(attributes)
	template := make([]*p11.Attribute, len(types))
	for i, kind := range types {
		template[i] = p11.NewAttribute(kind, nil)
	}
	found, err := s.ctx.GetAttributeValue(s.handle, handle, template)
	if err != nil && len(types) > 1 {
		for _, kind := range types {
			maps.Copy(all, s.look(handle, kind))
		}
		return all
	}
	for _, attribute := range found {
		all[attribute.Type] = attribute.Value
	}
	return all
}

// is says whether an attribute that is a CK_BBOOL is true.
func (a attributes) is(attribute uint) bool {
	b := a[attribute]
	return len(b) == 1 && b[0] != 0
}

// numbers returns an attribute that is one CK_ULONG or many.
func (a attributes) numbers(attribute uint) []uint {
	var all []uint
	for b := a[attribute]; len(b) >= sizeOfUlong; b = b[sizeOfUlong:] {
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
