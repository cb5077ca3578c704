// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package consent

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
)

// A blob is what a web page keeps of a consent: base64 of JSON in ASCII, as clients of the Trust1Connector contract read it
// with atob and JSON.parse. It tells the page the agent's port and is a hint for nothing else: whether its origin is consented
// to, the agent's own book says, for the user that the kernel names. What makes it recognisable all the same is signedHash,
// an HMAC-SHA256 with a key that only agents of this user have, over the user and all the rest: so a page cannot present what
// it made up, another user's, or one of before a revocation.
type blob struct {
	Agent api.T1CAgent `json:"agent"`

	// What is not in the contract.
	Origin              cardbroker.Origin    `json:"origin"`
	Granted             time.Time            `json:"granted"`
	Expires             time.Time            `json:"expires"`
	By                  cardbroker.ConsentBy `json:"by"`
	DeviceKeyThumbprint string               `json:"deviceKeyThumbprint"`

	SignedHash string `json:"signedHash"`
}

const (
	maxBlob   = 4096 // bytes of a blob that is looked at
	maxOthers = 15   // of other hosts, that a page keeps
)

// Sealer makes and recognises the blobs of one user.
type Sealer struct {
	User   cardbroker.UserID
	Secret cardbroker.Secret // of the user's agents
}

// Seal returns the blob of a consent, for the agent that where describes: user name, port, process and host name.
func (s Sealer) Seal(c cardbroker.Consent, where api.T1CAgent) string {
	now := time.Now().UTC().Format(api.T1CTime)
	where.APIIP, where.ConnectionState = "127.0.0.1", "CONSENT"
	where.APILastUsed, where.ClientLastUsed = now, now
	where.ValidityInDays = strconv.Itoa(DaysLeft(c))
	b := blob{Agent: where, Origin: c.Origin, Granted: c.Granted, Expires: c.Expires, By: c.By, DeviceKeyThumbprint: c.DeviceKeyThumbprint}
	b.SignedHash = s.sign(b)
	return base64.StdEncoding.EncodeToString(asciiJSON(b))
}

// sign returns the MAC of all of a blob but its MAC.
func (s Sealer) sign(b blob) string {
	b.SignedHash = ""
	mac := hmac.New(sha256.New, s.Secret.Reveal())
	fmt.Fprintf(mac, "cardbroker consent 1\n%s\n", s.User)
	mac.Write(asciiJSON(b))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// Fits says whether a blob is one that an agent of this user has sealed for just this consent.
func (s Sealer) Fits(text string, c cardbroker.Consent) bool {
	b, ok := open(text)
	if !ok || !hmac.Equal([]byte(s.sign(b)), []byte(b.SignedHash)) || b.Origin != c.Origin || !time.Now().Before(b.Expires) || b.By != c.By {
		return false
	}
	return c.By == cardbroker.ConsentByPolicy || b.Granted.Equal(c.Granted)
}

// FitsAny says whether one of the blobs does.
func (s Sealer) FitsAny(texts []string, c cardbroker.Consent) bool {
	return slices.ContainsFunc(texts, func(text string) bool { return s.Fits(text, c) })
}

// Others returns those blobs that are of other hosts: a page that roams keeps them. What is no blob goes; of too many the
// first go.
func Others(texts []string, host string) []string {
	others := []string{}
	for _, text := range texts {
		if b, ok := open(text); ok && b.Agent.Hostname != host {
			others = append(others, text)
		}
	}
	return others[max(0, len(others)-maxOthers):]
}

// open reads a blob, of any user and host. Fields that it does not know may be another version's.
func open(text string) (blob, bool) {
	var b blob
	if len(text) > maxBlob {
		return b, false
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil || !isASCII(raw) || json.Unmarshal(raw, &b) != nil {
		return b, false
	}
	return b, b.Agent.APIPort != ""
}

// DaysLeft is how long a consent still lasts, in days, not less than one.
func DaysLeft(c cardbroker.Consent) int {
	return max(1, int((time.Until(c.Expires)+12*time.Hour)/(24*time.Hour)))
}

// asciiJSON is v in JSON, with all that is not ASCII escaped: clients decode base64 to Latin-1.
func asciiJSON(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic("BUG: a blob is not JSON: " + err.Error())
	}
	var out bytes.Buffer
	for _, r := range string(text) { // what is no UTF-8 the encoder has replaced
		switch {
		case r < utf8.RuneSelf:
			out.WriteRune(r)
		case r > 0xFFFF:
			r -= 0x10000
			fmt.Fprintf(&out, `\u%04x\u%04x`, 0xD800+r>>10, 0xDC00+r&0x3FF)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return out.Bytes()
}

func isASCII(text []byte) bool {
	for _, c := range text {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
