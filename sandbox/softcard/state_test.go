// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package softcard_test

import (
	"bytes"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/apdu"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/sandbox/softcard"
)

func TestStateOutlivesTheProcess(t *testing.T) {
	file := filepath.Join(t.TempDir(), "card")
	c := connect(t, newReader(t, file))
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("New wrote the file, %v", err)
	}
	c.selectPIV()
	guid := c.object(0x5FC102)
	var before []*x509.Certificate
	for _, tag := range []apdu.Tag{0x5FC105, 0x5FC101} {
		before = append(before, c.certificate(tag))
	}
	c.change(0x80, "123456", "777777")
	c.verify("111111")
	c.unblock("11111111", "111111")

	c = connect(t, newReader(t, file))
	c.selectPIV()
	if !bytes.Equal(c.object(0x5FC102), guid) {
		t.Error("the CHUID is another one")
	}
	for i, tag := range []apdu.Tag{0x5FC105, 0x5FC101} {
		if !c.certificate(tag).Equal(before[i]) {
			t.Errorf("the certificate %06X is another one", uint32(tag))
		}
	}
	if sw := c.tries(); sw != 0x63C2 {
		t.Errorf("tries of the PIN: %s, want 63C2", sw)
	}
	if sw := c.unblock("11111111", "111111"); sw != 0x63C1 {
		t.Errorf("a second wrong PUK: %s, want 63C1", sw)
	}
	if sw := c.verify("777777"); sw != apdu.Success {
		t.Errorf("VERIFY of the changed PIN: %s", sw)
	}
	if _, sw := c.authenticate(0x07, 0x9A, block(make([]byte, 32))); sw != apdu.Success {
		t.Errorf("9A: %s", sw)
	}
}

func TestFileHidesPINAndIsPrivate(t *testing.T) {
	directory := t.TempDir()
	file := filepath.Join(directory, "card")
	c := connect(t, newReader(t, file))
	c.selectPIV()
	c.change(0x80, "123456", "90817263")
	c.change(0x81, "12345678", "56473829")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, pin := range []string{"90817263", "56473829", "OTA4MTcyNjM", "NTY0NzM4Mjk"} {
		if bytes.Contains(data, []byte(pin)) {
			t.Errorf("the file holds %q", pin)
		}
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 && runtime.GOOS != "windows" {
		t.Errorf("the file's mode is %04o, want 0600", got)
	}
	entries, err := os.ReadDir(directory)
	if err != nil || len(entries) != 1 {
		t.Errorf("the directory holds %v, %v, want the file alone", entries, err)
	}
}

// TestCutPowerCostsATry: whoever stops the process while it compares, and so before it can count, has lost the try, even
// with the right PIN.
func TestCutPowerCostsATry(t *testing.T) {
	const cost = 400_000 // time to look at the disk meanwhile
	salt := make([]byte, 16)
	hash, err := pbkdf2.Key(sha256.New, string(padded("777777")), salt, cost, 32)
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.StdEncoding.EncodeToString
	slow := written(t, fmt.Sprintf(`{"version": 1, "pin": {"tries": 3, "salt": "%s", "hash": "%s", "cost": %d}, "puk": {"tries": 3}, "keys": {}}`,
		encode(salt), encode(hash), cost))
	c := connect(t, newReader(t, slow))
	c.selectPIV()
	done := make(chan apdu.StatusWord)
	go func() { done <- c.verify("777777") }()
	atComparison := ""
	for atComparison == "" {
		select {
		case sw := <-done:
			t.Fatalf("VERIFY answered %s, and no try had been counted on disk before", sw)
		default:
		}
		data, err := os.ReadFile(slow)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(data, []byte(`"tries": 2`)) {
			atComparison = written(t, string(data))
		}
	}
	cut := connect(t, newReader(t, atComparison))
	cut.selectPIV()
	if sw := cut.tries(); sw != 0x63C2 {
		t.Errorf("after the power was cut: %s, want 63C2", sw)
	}
	if sw := <-done; sw != apdu.Success {
		t.Errorf("VERIFY: %s", sw)
	}
	restarted := connect(t, newReader(t, slow))
	restarted.selectPIV()
	if sw := restarted.tries(); sw != 0x63C3 {
		t.Errorf("after the comparison: %s, want 63C3", sw)
	}
}

// TestUnwritableFile: what cannot be saved does not happen.
func TestUnwritableFile(t *testing.T) {
	directory := filepath.Join(t.TempDir(), "gone")
	var logged bytes.Buffer
	r, err := softcard.New(filepath.Join(directory, "card"), slog.New(slog.NewTextHandler(&logged, nil)))
	if err != nil {
		t.Fatal(err)
	}
	c := connect(t, r)
	c.selectPIV()
	if sw := c.verify("123456"); sw != 0x6581 {
		t.Errorf("VERIFY of the right PIN: %s, want 6581", sw)
	}
	if sw := c.tries(); sw != 0x63C3 {
		t.Errorf("tries: %s, want 63C3", sw)
	}
	for range 2 { // it is not there the second time either
		c.wantSW("00CB3FFF055C035FC10100", "6581")
		c.wantSW("00CB3FFF055C035FC10200", "6581")
	}
	if !strings.Contains(logged.String(), "level=ERROR") {
		t.Errorf("the log says %q, want the cause", &logged)
	}
	if err := os.Mkdir(directory, 0o700); err != nil {
		t.Fatal(err)
	}
	if sw := c.verify("123456"); sw != apdu.Success {
		t.Errorf("VERIFY when the disk is back: %s", sw)
	}
}

// written returns a private file with the text.
func written(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "card")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestDamagedFile(t *testing.T) {
	good := filepath.Join(t.TempDir(), "card")
	c := connect(t, newReader(t, good))
	c.selectPIV()
	c.certificate(0x5FC101)
	c.certificate(0x5FC10A)
	c.object(0x5FC102)
	c.change(0x80, "123456", "777777")
	data, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	// edit returns the good file with one field changed.
	edit := func(change func(top map[string]any)) string {
		var top map[string]any
		if err := json.Unmarshal(data, &top); err != nil {
			t.Fatal(err)
		}
		change(top)
		out, err := json.Marshal(top)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	field := func(top map[string]any, name string) map[string]any { return top[name].(map[string]any) }
	tests := []struct{ name, text, want string }{
		{"empty", "", "line 1, column 0: unexpected end of JSON input"},
		{"cut off", string(data[:40]), "unexpected end of JSON input"},
		{"a byte changed", strings.Replace(string(data), "\"pin\":", "\"pin\";", 1), "line 4, column 7: invalid character ';' after object key"},
		{"two objects", string(data) + "{}", "invalid character '{' after top-level value"},
		{"version", edit(func(top map[string]any) { top["version"] = 2 }), "version is 2, want 1"},
		{"no version", "{}", "version is 0, want 1"},
		{"unknown field", edit(func(top map[string]any) { top["puks"] = 1 }), `unknown field "puks"`},
		{"PIN missing", edit(func(top map[string]any) { delete(top, "pin") }), "pin.tries is -1, want 0 to 3"},
		{"PUK missing", edit(func(top map[string]any) { delete(top, "puk") }), "puk.tries is -1, want 0 to 3"},
		{"too many tries", edit(func(top map[string]any) { field(top, "pin")["tries"] = 4 }), "pin.tries is 4, want 0 to 3"},
		{"salt missing", edit(func(top map[string]any) { delete(field(top, "pin"), "salt") }), "pin.salt has 0 bytes, want 16"},
		{"hash cut off", edit(func(top map[string]any) { field(top, "pin")["hash"] = "AAAA" }), "pin.hash has 3 bytes, want 32"},
		{"cost without bound", edit(func(top map[string]any) { field(top, "pin")["cost"] = 1 << 40 }), "pin.cost is 1099511627776, want 1 to 1000000"},
		{"GUID cut off", edit(func(top map[string]any) { top["guid"] = "AAAA" }), "guid has 3 bytes, want 16"},
		{"keys missing", edit(func(top map[string]any) { delete(top, "keys") }), "keys are missing"},
		{"unknown slot", edit(func(top map[string]any) { field(top, "keys")["9b"] = map[string]any{} }), `keys."9b" is no slot`},
		{"no key", edit(func(top map[string]any) { field(field(top, "keys"), "9e")["private"] = "AAAA" }), "keys.9e.private: "},
		{"no certificate", edit(func(top map[string]any) { delete(field(field(top, "keys"), "9e"), "certificate") }), "keys.9e.certificate: "},
		{"another key's certificate", edit(func(top map[string]any) {
			keys := field(top, "keys")
			field(keys, "9e")["certificate"] = field(keys, "9c")["certificate"]
		}), "keys.9e.certificate: of another key"},
		{"key of another kind", edit(func(top map[string]any) {
			keys := field(top, "keys")
			keys["9a"] = keys["9c"]
		}), "keys.9a.private: a key of another kind"},
		{"no base64", edit(func(top map[string]any) { top["guid"] = "?" }), "line 1, column "},
		{"too large", strings.Repeat(" ", 70000), "has 70000 bytes, want 65536 or fewer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := written(t, tt.text)
			_, err := softcard.New(file, slog.New(slog.DiscardHandler))
			if cardbroker.ReasonOf(err) != cardbroker.Invalid || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), file) {
				t.Errorf("New: error %v, want Invalid with the file and %q", err, tt.want)
			}
			if after, err := os.ReadFile(file); err != nil || string(after) != tt.text {
				t.Errorf("New changed the file, %v", err)
			}
		})
	}
}

func TestFileOpenToOthers(t *testing.T) {
	if runtime.GOOS == "windows" {
		testenv.Skip(t, "access is not in the mode here")
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o601} {
		file := written(t, "{}")
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		_, err := softcard.New(file, slog.New(slog.DiscardHandler))
		if cardbroker.ReasonOf(err) != cardbroker.Invalid || !strings.Contains(err.Error(), "is open to others") {
			t.Errorf("New with mode %04o: error %v, want Invalid", mode, err)
		}
	}
	_, err := softcard.New(t.TempDir(), slog.New(slog.DiscardHandler))
	if cardbroker.ReasonOf(err) != cardbroker.Invalid {
		t.Errorf("New with a directory: error %v, want Invalid", err)
	}
}

// TestRestOfACrash: a temporary file that a killed process left does not hinder.
func TestRestOfACrash(t *testing.T) {
	file := filepath.Join(t.TempDir(), "card")
	if err := os.WriteFile(file+".new", []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := connect(t, newReader(t, file))
	c.selectPIV()
	if sw := c.verify("123456"); sw != apdu.Success {
		t.Errorf("VERIFY: %s", sw)
	}
	newReader(t, file)
}
