// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/certs"
	"github.com/cardbroker/cardbroker/internal/token"
)

// magic begins each file. Another one is another format.
const magic = "cbc1"

// maxList is how many certificates a list has at most.
const maxList = 256

// errSealed says that a file is not what it should be; why does not matter.
var errSealed = errors.New("damaged, of another card, host or user, or too old")

// sealer seals lists: magic, then AES-256-GCM with a random nonce (NIST SP 800-38D) over the JSON of [content]. The card's id and
// the user are authenticated with it; the host and the agent's secret are in the key.
type sealer struct {
	aead cipher.AEAD
	user string
}

// content is what is sealed.
type content struct {
	Read         time.Time           `json:"read"`
	Until        time.Time           `json:"until"`
	Certificates []token.Certificate `json:"certificates"`
}

func newSealer(key []byte, user cardbroker.UserID) sealer {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return sealer{aead: aead, user: user.String()}
}

// join writes texts one after the other so that no two lists of texts give the same bytes.
func join(parts ...string) []byte {
	var out []byte
	for _, part := range parts {
		out = binary.BigEndian.AppendUint32(out, uint32(len(part)))
		out = append(out, part...)
	}
	return out
}

func (s sealer) bound(id cardID) []byte { return join(magic, s.user, id.module, id.serial, id.atr) }

func (s sealer) seal(id cardID, k kept) []byte {
	text, err := json.Marshal(content{Read: time.Now().UTC(), Until: k.until.UTC(), Certificates: k.list})
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return s.aead.Seal([]byte(magic), nil, text, s.bound(id))
}

// open returns the list of a file, if it is this card's, of this user and host, and still counts.
func (s sealer) open(file []byte, id cardID, now time.Time) (kept, error) {
	sealed, ok := bytes.CutPrefix(file, []byte(magic))
	if !ok {
		return kept{}, errSealed
	}
	text, err := s.aead.Open(nil, nil, sealed, s.bound(id))
	if err != nil {
		return kept{}, errSealed
	}
	c, err := parseContent(text)
	if err != nil || now.Before(c.Read) || !now.Before(c.Until) {
		return kept{}, errSealed
	}
	return kept{list: c.Certificates, until: c.Until}, nil
}

// parseContent reads strictly what seal has written.
func parseContent(text []byte) (content, error) {
	var c content
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return content{}, errSealed
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) || len(c.Certificates) > maxList || !c.Read.Before(c.Until) {
		return content{}, errSealed
	}
	for _, one := range c.Certificates {
		if len(one.DER) == 0 || len(one.DER) > certs.MaxSize {
			return content{}, errSealed
		}
	}
	return c, nil
}
