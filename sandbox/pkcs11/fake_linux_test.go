// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pkcs11_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/internal/token"
	"github.com/cardbroker/cardbroker/test/tokenbed"
)

// startFake starts cardsandbox with the library of [tokenbed.Fake] that does these things wrong.
func startFake(t *testing.T, wrongs string, env ...string) *child {
	t.Helper()
	return start(t, fake(t), append([]string{"FAKE=" + wrongs}, env...)...)
}

// fake returns the library, built by the first who asks.
func fake(t *testing.T) string {
	t.Helper()
	library := folder("fake.so")
	if _, err := os.Stat(library); err == nil {
		return library
	}
	if err := tokenbed.Fake(t.Context(), library); err != nil {
		t.Fatal(err)
	}
	return library
}

func TestFakeSigns(t *testing.T) {
	sum := sha256.Sum256([]byte("data"))
	info := append([]byte("\x01\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20"), sum[:]...)
	data := []byte("\x40data") // 0x40 is CKM_SHA256_RSA_PKCS
	without := func(q token.Question) token.Question {
		q.Sign.Inputs[0].Data = nil
		return q
	}
	with := func(q token.Question) token.Question { return q }
	tests := []struct {
		name   string
		wrongs string
		change func(token.Question) token.Question
		want   []byte
		reason cardbroker.Reason
	}{
		{"the raw mechanism is preferred", "", with, info, ""},
		{"the raw mechanism needs no data", "", without, info, ""},
		{"a token that hashes itself", "hashing", with, data, ""},
		{"a token that hashes itself gets no data", "hashing", without, nil, cardbroker.Unsupported},
		{"a key that allows one mechanism", "allowed", with, data, ""},
		{"a token that lists what it does not have", "picky", with, data, ""},
		{"a token that lists what it does not have gets no data", "picky", without, nil, cardbroker.Unsupported},
		{"a key that wants the PIN each time", "each", with, info, ""},
		{"a login that was there", "already", with, info, ""},
		{"a token without room for a session", "full", with, nil, cardbroker.ReaderBusy},
		{"a wrong PIN", "wrong", with, nil, cardbroker.PINIncorrect},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := startFake(t, test.wrongs)
			q := test.change(signing(1, token.RSAPKCS1, token.SHA256, "data"))
			answer, err := c.Ask(c.slot("a").Stream, q, "123456")
			want(t, "sign", err, test.reason)
			if err == nil && !bytes.Equal(answer.Signatures[0], test.want) {
				t.Errorf("signed % x, want % x", answer.Signatures[0], test.want)
			}
			if slot := c.slot("a"); slot.Token.Label != "a" {
				t.Errorf("it leaves the token %q", slot.Token.Label)
			}
		})
	}
}

// TestSwapped: a token that took the place of the one that is meant, after all looks at the slot, is asked nothing and given no PIN.
func TestSwapped(t *testing.T) {
	sign := signing(1, token.RSAPKCS1, token.SHA256, "data")
	pins := []string{"123456", "654321"}
	for _, q := range []token.Question{
		{Call: token.CallLogin}, {Call: token.CallObjects}, sign, {Call: token.CallChangePIN}, {Call: token.CallUnblock},
		{Call: token.CallToken},
	} {
		c := startFake(t, "swapped wrong") // a login says that the PIN is wrong
		slot := c.slot("a")
		q.Serial = slot.Token.Serial
		if q.Call == token.CallToken { // it opens no session, which swaps them
			q.Serial = "z"
		}
		_, most := q.Secrets()
		_, err := c.Ask(slot.Stream, q, pins[:most]...)
		want(t, string(q.Call), err, cardbroker.ObjectUnknown)
	}
}

// TestNoPINIsNoTry: a key that wants the PIN each time is not given an empty one, which cards count as wrong.
func TestNoPINIsNoTry(t *testing.T) {
	c := startFake(t, "each")
	_, err := c.Ask(c.slot("a").Stream, signing(1, token.RSAPKCS1, token.SHA256, "data"))
	want(t, "sign without a PIN", err, cardbroker.Forbidden)
}

// TestTries: of the tries that are left a token tells by its flags that the next is the last, or that there is none, §3.2.
func TestTries(t *testing.T) {
	for wrongs, tries := range map[string]int{"wrong": cardbroker.RetriesUnknown, "wrong final": 1} {
		c := startFake(t, wrongs)
		_, err := c.Ask(c.slot("a").Stream, token.Question{Call: token.CallLogin}, "123456")
		want(t, wrongs, err, cardbroker.PINIncorrect)
		if e, ok := errors.AsType[*cardbroker.Error](err); !ok || e.Retries != tries {
			t.Errorf("%s: %+v, want %d tries left", wrongs, err, tries)
		}
	}
	c := startFake(t, "wrong locked")
	_, err := c.Ask(c.slot("a").Stream, token.Question{Call: token.CallLogin}, "123456")
	want(t, "a PIN that is blocked by it", err, cardbroker.PINBlocked)
}

// TestKeypad: where the PIN is entered at the reader, the library is given none.
func TestKeypad(t *testing.T) {
	sign := signing(1, token.RSAPKCS1, token.SHA256, "data")
	sign.Protected = true
	for _, q := range []token.Question{{Call: token.CallLogin, Protected: true}, sign, {Call: token.CallChangePIN, Protected: true}} {
		c := startFake(t, "keypad each")
		_, err := c.Ask(c.slot("a").Stream, q)
		want(t, string(q.Call), err, "")
		_, err = c.Ask(c.slot("a").Stream, q, "123456")
		want(t, string(q.Call)+" with a PIN, too", err, cardbroker.Invalid)
	}
	c := startFake(t, "cancel")
	_, err := c.Ask(c.slot("a").Stream, token.Question{Call: token.CallLogin, Protected: true})
	want(t, "a user who cancels", err, cardbroker.PINCanceled)
}

// TestHang: a call that never returns keeps nobody from other slots, nor the process from ending; but the library is not finalised then.
func TestHang(t *testing.T) {
	dir := t.TempDir()
	note, hangs := filepath.Join(dir, "finalized"), filepath.Join(dir, "hangs")
	if err := unix.Mkfifo(hangs, 0o600); err != nil {
		t.Fatal(err)
	}
	c := startFake(t, "hang", "FINALIZED="+note, "HANGS="+hangs, "CARDSANDBOX_WRITE="+dir)
	a, b := c.slot("a"), c.slot("b")
	hung := make(chan error, 1)
	go func() {
		_, err := c.Ask(a.Stream, token.Question{Call: token.CallLogin}, "123456")
		hung <- err
	}()
	if _, err := os.ReadFile(hangs); err != nil { // until it does
		t.Fatal(err)
	}
	for range 3 {
		_, err := c.Ask(b.Stream, token.Question{Call: token.CallLogin}, "123456")
		want(t, "another slot", err, "")
	}
	began := time.Now()
	if err := c.Stop(); err != nil || time.Since(began) > 3*time.Second {
		t.Errorf("it ended with %v after %v: %s", err, time.Since(began), c.Said.String())
	}
	if <-hung == nil {
		t.Error("the call that hangs was answered")
	}
	if _, err := os.Stat(note); err == nil {
		t.Error("C_Finalize ran while a call did")
	}
}

// TestFinalize: the library ends before the process, but does not keep it.
func TestFinalize(t *testing.T) {
	note := filepath.Join(t.TempDir(), "finalized")
	env := []string{"FINALIZED=" + note, "CARDSANDBOX_WRITE=" + filepath.Dir(note)}
	for wrongs, wanted := range map[string]bool{"": true, "endless": false} {
		os.Remove(note)
		c := startFake(t, wrongs, env...)
		c.slot("a")
		began := time.Now()
		if err := c.Stop(); err != nil || time.Since(began) > 3*time.Second {
			t.Errorf("%q: it ended with %v after %v", wrongs, err, time.Since(began))
		}
		if _, err := os.Stat(note); (err == nil) != wanted {
			t.Errorf("%q: C_Finalize: %v, want it to have run: %v", wrongs, err, wanted)
		}
	}
}

// TestCrash: of a library that crashes with the PIN in its hands, nothing tells the PIN.
func TestCrash(t *testing.T) {
	for _, wrongs := range []string{"abort", "segfault", "print abort"} {
		c := startFake(t, wrongs)
		pin := tokenbed.Digits(8)
		if _, err := c.Ask(c.slot("b").Stream, token.Question{Call: token.CallLogin}, pin); err == nil {
			t.Errorf("%s: the login was answered", wrongs)
		}
		if err := c.Wait(); err == nil {
			t.Errorf("%s: the process ended well", wrongs)
		}
		c.silentOn(t, wrongs, pin)
	}
}

// silentOn fails the test where the child has said the PIN on standard error: as text, or as registers are printed.
func (c *child) silentOn(t *testing.T, what, pin string) {
	t.Helper()
	reversed := []byte(pin)
	for i, j := 0, len(reversed)-1; i < j; i, j = i+1, j-1 {
		reversed[i], reversed[j] = reversed[j], reversed[i]
	}
	for _, text := range []string{pin, hex.EncodeToString([]byte(pin)), hex.EncodeToString(reversed)} {
		if strings.Contains(c.Said.String(), text) {
			t.Errorf("%s: it says the PIN, as %s: %s", what, text, c.Said.String())
		}
	}
}

// TestPrint: what a library prints is no frame, and nobody hears it once it has started.
func TestPrint(t *testing.T) {
	c := startFake(t, "print")
	pin := tokenbed.Digits(8)
	for range 3 {
		_, err := c.Ask(c.slot("a").Stream, token.Question{Call: token.CallLogin}, pin)
		want(t, "login", err, "")
	}
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
	if said := c.Said.String(); !strings.Contains(said, "C_Initialize") || strings.Contains(said, "C_Login") {
		t.Errorf("it says %.400s", said)
	}
	c.silentOn(t, "print", pin)
}

// TestLeak: a library that takes memory and descriptors and gives nothing back goes on; descriptors are bounded.
func TestLeak(t *testing.T) {
	c := startFake(t, "leak")
	slot := c.slot("a")
	for range 400 {
		if _, err := c.Ask(slot.Stream, token.Question{Call: token.CallToken}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFakeSlots(t *testing.T) {
	c := startFake(t, "many")
	answer, err := c.Ask(0, token.Question{Call: token.CallSlots})
	if err != nil || len(answer.Slots) != 20 {
		t.Fatalf("%d slots, %v", len(answer.Slots), err)
	}
	for i, slot := range answer.Slots {
		want := i + 1
		if i > 14 {
			want = 0
		}
		if int(slot.Stream) != want || slot.Token.MaxSessions != 0 || slot.Token.Sessions != -1 {
			t.Errorf("slot %d: %+v, %+v, want the stream %d", i, slot, slot.Token, want)
		}
	}
	lib, err := c.Ask(0, token.Question{Call: token.CallInfo})
	if err != nil || lib.Library.Manufacturer != "fake?" {
		t.Errorf("info: %+v, %v", lib.Library, err)
	}
}

// TestNotLoaded: who administers a module is told what is wrong with it.
func TestNotLoaded(t *testing.T) {
	testenv.Tool(t, "gcc")
	dir := t.TempDir()
	build := func(name, code string, args ...string) string {
		source, library := filepath.Join(dir, name+".c"), filepath.Join(dir, name)
		if err := os.WriteFile(source, []byte(code), 0o600); err != nil {
			t.Fatal(err)
		}
		run(t, nil, "gcc", append([]string{"-shared", "-fPIC", "-o", library, source}, args...)...)
		return library
	}
	needed := build("libneeded.so", "int needed(void) { return 1; }", "-Wl,-soname,libneeded.so")
	lacking := build("liblacking.so", "int needed(void); int C_GetFunctionList(void) { return needed(); }", "-Wl,--no-as-needed", needed)
	if err := os.Remove(needed); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ library, fake, want string }{
		{filepath.Join(dir, "absent.so"), "", "absent.so is not there"},
		{lacking, "", "it needs libneeded.so, which cannot be found"},
		{fake(t), "uninitialised", "C_Initialize says CKR_GENERAL_ERROR"},
	}
	for _, test := range tests {
		c := start(t, test.library, "FAKE="+test.fake)
		err := c.Wait()
		if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 4 {
			t.Errorf("%s: %v, want the status 4", test.want, err)
		}
		if !strings.Contains(c.Said.String(), "cardsandbox: unavailable: ") || !strings.Contains(c.Said.String(), test.want) {
			t.Errorf("it says %q, want %q", c.Said.String(), test.want)
		}
	}
}

// TestMemory: after its question no byte string in the process is the PIN, not even the copy that the binding makes in C: glibc writes over
// the first 16 bytes of what is freed.
func TestMemory(t *testing.T) {
	testenv.Root(t)
	c := startFake(t, "each")
	slot := c.slot("a")
	pin := tokenbed.Digits(12)
	for _, q := range []token.Question{{Call: token.CallLogin}, signing(1, token.RSAPKCS1, token.SHA256, "data")} {
		_, err := c.Ask(slot.Stream, q, pin)
		want(t, string(q.Call), err, "")
	}
	if n := c.count(t, []byte("sandbox")); n == 0 {
		t.Error("a word that must be in memory is not found")
	}
	if n := c.count(t, []byte(pin)); n != 0 {
		t.Errorf("the PIN is in memory %d times", n)
	}
}

// TestProcessors: a sandbox is started anew with two processors, however many it had at first.
func TestProcessors(t *testing.T) {
	testenv.Root(t)
	c := startFake(t, "each", "GOMAXPROCS=64")
	c.slot("a")
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", c.PID)) // of its last exec
	if err != nil {
		t.Fatal(err)
	}
	var named []string
	for _, variable := range strings.Split(string(text), "\x00") {
		if strings.HasPrefix(variable, "GOMAXPROCS=") {
			named = append(named, variable)
		}
	}
	if !slices.Equal(named, []string{"GOMAXPROCS=2"}) {
		t.Errorf("the second pass was started with %q, want 2 processors", named)
	}
}

// count counts how often the bytes stand in the child's writable memory.
func (c *child) count(t *testing.T, what []byte) int {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", c.PID))
	if err != nil {
		t.Fatal(err)
	}
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", c.PID))
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	n := 0
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var rights string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &rights); err != nil || !strings.HasPrefix(rights, "rw") || to-from > 64<<20 {
			continue
		}
		region := make([]byte, to-from)
		if got, err := memory.ReadAt(region, from); err == nil {
			n += bytes.Count(region[:got], what)
		}
	}
	return n
}
