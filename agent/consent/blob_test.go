// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package consent_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/agent/consent"
	"github.com/cardbroker/cardbroker/api"
)

func where(username string) api.T1CAgent {
	return api.T1CAgent{Username: username, APIPort: "24817", APIPID: "1", Hostname: "vda17"}
}

// naive believes what a page shows: the user by his name, the consent by its words.
func naive(text, username string, origin cardbroker.Origin) bool {
	raw, _ := base64.StdEncoding.DecodeString(text)
	var b struct {
		Agent  api.T1CAgent
		Origin cardbroker.Origin
	}
	return json.Unmarshal(raw, &b) == nil && b.Agent.Username == username && b.Origin == origin
}

// TestBlobAttacks shows blobs that are not the page's to a version that believes them, and to ours.
func TestBlobAttacks(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Millisecond)
	c := cardbroker.Consent{Origin: shop, Granted: now, Expires: now.Add(day), By: cardbroker.ConsentByUser}
	alice := consent.Sealer{User: cardbroker.UserID{UID: 1001}, Secret: cardbroker.NewSecret([]byte("alice's"))}
	good := alice.Seal(c, where("alice"))
	if !alice.Fits(good, c) || !alice.FitsAny([]string{"x", good}, c) {
		t.Fatal("her own consent does not fit")
	}
	text, _ := base64.StdEncoding.DecodeString(good)
	change := func(old, new string) string {
		return base64.StdEncoding.EncodeToString([]byte(strings.Replace(string(text), old, new, 1)))
	}
	before, another, expired := c, c, c
	before.Granted = now.Add(-time.Hour)
	another.Origin = evil
	expired.Expires = now.Add(-time.Second)
	for name, shown := range map[string]string{
		"of another user who is called like her": consent.Sealer{User: cardbroker.UserID{UID: 1002}, Secret: cardbroker.NewSecret([]byte("bob's"))}.Seal(c, where("alice")),
		"of another user whose secret is hers":   consent.Sealer{User: cardbroker.UserID{UID: 1002}, Secret: alice.Secret}.Seal(c, where("alice")),
		"of before a revocation":                 alice.Seal(before, where("alice")),
		"expired":                                alice.Seal(expired, where("alice")),
		"with another expiry":                    change(now.Add(day).Format("2006-01-02"), "2999-01-01"),
		"with another port":                      change("24817", "24818"),
		"without a signature":                    change(`"signedHash":"`, `"signedHash":"","x":"`),
	} {
		if !naive(shown, "alice", shop) {
			t.Errorf("the naive version is not fooled by a consent %s", name)
		}
		if alice.Fits(shown, c) {
			t.Errorf("a consent %s fits", name)
		}
	}
	if alice.Fits(alice.Seal(another, where("alice")), c) || alice.Fits(good, another) {
		t.Error("a consent fits another page")
	}
}

// TestBlobIsASCII: clients read it with atob, which knows Latin-1 only.
func TestBlobIsASCII(t *testing.T) {
	sealer := consent.Sealer{Secret: cardbroker.NewSecret([]byte("s"))}
	c := cardbroker.Consent{Origin: shop, Granted: time.Now().UTC(), Expires: time.Now().Add(day).UTC(), By: cardbroker.ConsentByUser}
	for _, name := range []string{"Łukasz Żółć", "用户", "😀", "a\"b\\c", "\xff"} {
		text := sealer.Seal(c, where(name))
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil || strings.ContainsFunc(string(raw), func(r rune) bool { return r > 126 || r < 32 }) {
			t.Errorf("%q is sealed as %q", name, raw)
		}
		var b struct{ Agent api.T1CAgent }
		if err := json.Unmarshal(raw, &b); err != nil || b.Agent.Username != strings.ToValidUTF8(name, "\ufffd") {
			t.Errorf("%q comes back as %q, %v", name, b.Agent.Username, err)
		}
		if !sealer.Fits(text, c) {
			t.Errorf("the consent of %q does not fit", name)
		}
	}
}

// TestOthers: a page keeps what other hosts gave it, so that it can roam.
func TestOthers(t *testing.T) {
	sealer := consent.Sealer{Secret: cardbroker.NewSecret([]byte("s"))}
	there := where("alice")
	there.Hostname = "vda18"
	ours, theirs := sealer.Seal(cardbroker.Consent{Origin: shop}, where("alice")), sealer.Seal(cardbroker.Consent{Origin: shop}, there)
	if got := consent.Others([]string{ours, "", "!", theirs, "e30="}, "vda17"); len(got) != 1 || got[0] != theirs {
		t.Errorf("kept %q", got)
	}
	var many []string
	for range 40 {
		many = append(many, theirs)
	}
	if got := consent.Others(many, "vda17"); len(got) != 15 {
		t.Errorf("kept %d", len(got))
	}
}
