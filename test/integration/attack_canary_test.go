// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/test/stage"
)

// canaries are secrets that went through a run, by name.
type canaries map[string][]byte

// find returns the names of those that content holds, in any of the forms in which a program might write bytes down.
func (c canaries) find(content []byte) (found []string) {
	folded := bytes.ToUpper(content)
	for name, secret := range c {
		padded := append(bytes.Clone(secret), 0xFF, 0xFF)
		for _, form := range [][]byte{
			bytes.ToUpper(secret),
			[]byte(strings.ToUpper(hex.EncodeToString(secret))),
			[]byte(strings.ToUpper(fmt.Sprintf("% x", secret))),
			[]byte(strings.ToUpper(strings.Trim(fmt.Sprint(secret), "[]"))),
			bytes.ToUpper([]byte(base64.RawStdEncoding.EncodeToString(secret))),
			padded,
		} {
			if stands(folded, form) > 0 {
				found = append(found, name)
				break
			}
		}
		bcd, err := hex.DecodeString(string(secret))
		if len(bcd) < 8 {
			bcd = append(bcd, 0xFF, 0xFF, 0xFF, 0xFF) // as in a command: four bytes alone are in some word, once in 20,000 runs
		}
		if err == nil && bytes.Contains(content, bcd) {
			found = append(found, name+" in BCD")
		}
	}
	return found
}

// stands counts a form of a secret. Few digits do not count within longer ones, or hexadecimal: there any eight are by chance, once in
// 100,000 runs.
func stands(content, form []byte) (count int) {
	few := len(form) < 16 && len(bytes.Trim(form, "0123456789")) == 0
	digit := func(at int) bool {
		return at >= 0 && at < len(content) && bytes.IndexByte([]byte("0123456789abcdefABCDEF"), content[at]) >= 0
	}
	for at := 0; ; at += len(form) {
		next := bytes.Index(content[at:], form)
		if next < 0 {
			return count
		}
		at += next
		if !few || !digit(at-1) && !digit(at+len(form)) {
			count++
		}
	}
}

func TestStands(t *testing.T) {
	for content, want := range map[string]int{
		"": 0, "12345678": 1, `{"pin":"12345678"}`: 1, "x12345678,12345678": 2, "\x0812345678\xFF": 1, "12345678\xFF\xFF 012345678": 1,
		"a12345678": 0, "12345678F": 0, "2026-12345678-9": 1, "1234567": 0,
	} {
		if got := stands([]byte(content), []byte("12345678")); got != want {
			t.Errorf("it stands %d times in %q, want %d", got, content, want)
		}
	}
	if got := stands([]byte("a1234567812345678a"), []byte("1234567812345678")); got != 1 {
		t.Errorf("what is long enough stands %d times, want once", got)
	}
	content := []byte("port 1234, \x12\x34\x56\x78 12345678")
	if found := (canaries{"pin": []byte("12345678")}).find(content); !slices.Equal(found, []string{"pin"}) {
		t.Errorf("found %q, want the PIN, not in BCD", found)
	}
	if found := (canaries{"pin": []byte("12345678")}).find([]byte("\x12\x34\x56\x78\xFF\xFF\xFF\xFF")); !slices.Equal(found, []string{"pin in BCD"}) {
		t.Errorf("found %q, want the PIN in BCD", found)
	}
}

// TestCanaries sends a PIN, claims, tickets and tokens through everything, good and bad, with all logs at debug, and looks
// for them in each log, file, answer and process.
func TestCanaries(t *testing.T) {
	h, alice, bob := newAttack(t)
	h.verbose = true
	h.start()
	_, line := h.logon(alice)
	digits, err := rand.Int(rand.Reader, big.NewInt(1e16))
	if err != nil {
		t.Fatal(err)
	}
	pin := fmt.Sprintf("%016d", digits)
	claim, wrong := newClaim("canary"), newClaim("canary")
	good, foreign := h.offer(alice), h.offer(alice)
	secret := func(o api.Offered) []byte { return []byte(strings.Split(o.Ticket, ".")[2]) }
	kept := canaries{"pin": []byte(pin), "claim": []byte(claim.Claim), "wrong claim": []byte(wrong.Claim), "ticket": secret(good),
		"foreign ticket": secret(foreign), "token": []byte(h.token("issuer")), "rival's token": []byte(h.token("rival"))}

	said := h.canaryRun(alice, bob, pin, good, foreign)
	said = append(said, h.local(bob, "POST", "/local/v1/reserve", claim), h.local(bob, "POST", "/local/v1/renew", wrong),
		h.local(bob, "POST", "/local/v1/release", map[string]any{"session": 1, "claim": claim.Claim}))
	h.link(bob, wrong, true)
	for _, a := range said {
		if found := kept.find(a.Body); len(found) > 0 {
			t.Errorf("an answer holds %v: %s", found, a.Body)
		}
	}
	sandbox, err := stage.ChildOf(line.PID)
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range []int{h.ready.PID, line.PID, sandbox} {
		for _, file := range []string{"cmdline", "environ"} {
			content, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
			if found := kept.find(content); err != nil || len(found) > 0 {
				t.Errorf("%s of process %d holds %v, %v", file, pid, found, err)
			}
		}
	}
	h.broker.Stop()
	h.searchFiles(kept)
}

// canaryRun sends the PIN and the tickets, and returns what was answered.
func (h *host) canaryRun(alice, bob *stage.Person, pin string, good, foreign api.Offered) (said []answer) {
	h.t.Helper()
	digits := hex.EncodeToString([]byte(pin))
	verify := fmt.Sprintf("00200080%02X%s", len(pin), digits)
	back := []string{"--broker", h.ready.Backend, "--ca", h.Path("door.pem"), "--token-file"}
	socket := []string{"--socket", h.socket}
	agent := append([]string{"--state", alice.Home + "/state"}, socket...)
	for _, command := range []struct {
		p    *stage.Person
		args []string
	}{
		{nil, append([]string{"reader", "apdu", "-", verify, "--ticket", good.Ticket}, append(back, h.Path("token"))...)},
		{nil, append([]string{"reader", "apdu", "-", "80EE000002" + "0102", verify[:12] + "zz", "--ticket", foreign.Ticket}, append(back, h.Path("token"))...)},
		{nil, append([]string{"reader", "apdu", "-", "10" + verify[2:], "--json", "--ticket", good.Ticket}, append(back, h.Path("token"))...)},
		{nil, append([]string{"reader", "apdu", "-", verify, "--ticket", foreign.Ticket}, append(back, h.Path("rival.token"))...)},
		{nil, append([]string{"reader", "list"}, append(back, h.Path("token"))...)},
		{nil, append([]string{"host", "sessions"}, socket...)},
		{nil, append([]string{"host", "leases"}, socket...)},
		{nil, append([]string{"host", "doctor"}, socket...)},
		{alice, append([]string{"agent", "status"}, agent...)},
		{alice, append([]string{"agent", "leases"}, agent...)},
	} {
		out, err := h.Run(command.p, "cardbroker", append(command.args, "--log-level", "debug")...)
		if err != nil {
			h.t.Fatal(err)
		}
		said = append(said, answer{Status: out.Status, Body: append(out.Stdout, out.Stderr...)})
	}
	if !strings.Contains(string(said[0].Body), "VERIFY") {
		h.t.Errorf("VERIFY through a tunnel is answered %s, want a refusal that names it", said[0].Body)
	}
	return said
}

// searchFiles searches all files on stage but those that the secrets were put into on purpose.
func (h *host) searchFiles(kept canaries) {
	h.t.Helper()
	err := filepath.WalkDir(h.Path(), func(path string, d fs.DirEntry, err error) error {
		given := map[string]bool{h.Path("alice", "typed"): true, h.Path("tokens"): true, h.Path("token"): true, h.Path("rival.token"): true, h.Path("bin"): true}
		if given[path] && d.IsDir() {
			return fs.SkipDir
		}
		if err != nil || given[path] || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if found := kept.find(content); len(found) > 0 {
			h.t.Errorf("%s holds %v", path, found)
		}
		return err
	})
	if err != nil {
		h.t.Error(err)
	}
}
