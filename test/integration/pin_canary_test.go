// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package integration

import (
	"bufio"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/sandbox/softcard"
	"github.com/cardbroker/cardbroker/test/sealed"
	"github.com/cardbroker/cardbroker/test/stage"
	"github.com/cardbroker/cardbroker/virtualreader"
	"github.com/cardbroker/cardbroker/virtualreader/script"
)

// pinCard makes a software card with a PIN of its own for a user, and returns the file.
func (h *host) pinCard(p *stage.Person, pin string) string {
	h.t.Helper()
	dir := filepath.Join(p.Home, "card")
	file := filepath.Join(dir, "card.json")
	if err := os.Mkdir(dir, 0o700); err != nil {
		h.t.Fatal(err)
	}
	reader, err := softcard.New(file, slog.New(slog.DiscardHandler))
	if err != nil {
		h.t.Fatal(err)
	}
	card, err := reader.Connect(softcard.Name, cardbroker.ShareShared)
	if err != nil {
		h.t.Fatal(err)
	}
	command := append([]byte("\x00\x24\x00\x80\x10123456\xFF\xFF"), pin...)
	for _, c := range [][]byte{[]byte("\x00\xA4\x04\x00\x05\xA0\x00\x00\x03\x08"), command} {
		if answer, err := card.Transmit(nil, c); err != nil || answer[len(answer)-2] == 0x69 || answer[len(answer)-2] == 0x63 {
			h.t.Fatalf("%x is answered %x, %v", c[:4], answer, err)
		}
	}
	for _, path := range []string{dir, file} {
		if err := os.Chown(path, int(p.Cred.Uid), int(p.Cred.Gid)); err != nil {
			h.t.Fatal(err)
		}
	}
	return file
}

// forms are how a PIN of eight digits may lie in memory, by name. BCD is looked for with the filler that it has in a command:
// four bytes alone are somewhere by chance.
func forms(pin string) map[string][]byte {
	digits := hex.EncodeToString([]byte(pin))
	bcd, _ := hex.DecodeString(pin + "ffffffff")
	return map[string][]byte{
		"ASCII": []byte(pin), "hex": []byte(digits), "HEX": []byte(strings.ToUpper(digits)),
		"base64": []byte(base64.RawStdEncoding.EncodeToString([]byte(pin))), "BCD": bcd,
	}
}

// inMemory counts the PIN in what a process can write to, in each of its forms.
func inMemory(t *testing.T, pid int, pin string) (count int, what string) {
	t.Helper()
	maps, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer maps.Close()
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	const overlap = 15 // the longest form has 16 bytes; a shorter one may be counted twice
	window, looked := make([]byte, 1<<20), forms(pin)
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		var from, to int64
		var mode string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &from, &to, &mode); err != nil || mode[0] != 'r' || mode[1] != 'w' {
			continue
		}
		for at := from; at < to; at += int64(len(window) - overlap) {
			n, _ := memory.ReadAt(window[:min(int64(len(window)), to-at)], at) // none of it of a mapping that nobody can read, [vvar] for one
			for name, form := range looked {
				if n := stands(window[:n], form); n > 0 {
					count += n
					what += fmt.Sprintf(" %s×%d", name, n)
				}
			}
		}
	}
	return count, what
}

// TestPINCanary sends a PIN made at random through every path, and looks for it in each file, log, answer and process, and in
// the memory of broker, agent and sandbox. In the broker there is none, ever; in the others what is left is counted.
func TestPINCanary(t *testing.T) {
	for _, clear := range []string{"deny", "allow"} {
		t.Run("clear "+clear, func(t *testing.T) { pinCanary(t, clear == "allow") })
	}
}

func pinCanary(t *testing.T, clear bool) {
	testenv.Root(t)
	h := newHostFor(t, 3*limit) // it reads much memory
	alice := &h.Users[0]
	h.verbose = true
	h.setPolicy("agent")
	policy := "pin: {clear: deny, session: {seconds: 60, uses: 5}}\nconsent: {allow: [https://shop.example]}\n"
	if clear {
		policy = "pin: {clear: allow}\ntenants: {issuer: {pin: passthrough}}\n"
	}
	if err := os.WriteFile(h.Path("policy.d", "c.yaml"), []byte(policy), 0o644); err != nil {
		t.Fatal(err)
	}
	digits, err := rand.Int(rand.Reader, big.NewInt(9e7))
	if err != nil {
		t.Fatal(err)
	}
	pin := fmt.Sprint(digits.Int64() + 1e7)
	h.start()
	_, line := h.runAgent(alice, "--software-card="+h.pinCard(alice, pin))
	at := fmt.Sprintf("127.0.0.1:%d", line.Port)
	reader, public := h.readerAt(alice, at), h.deviceKey(alice, at)
	h.answers(alice, `cat "$HOME/typed"`)
	if err := os.WriteFile(alice.Home+"/typed", []byte(pin), 0o644); err != nil { // this is the user's head
		t.Fatal(err)
	}
	sandbox, err := stage.ChildOf(line.PID)
	if err != nil {
		t.Fatal(err)
	}
	kept := canaries{"pin": []byte(pin)}
	processes := map[string]int{"broker": h.ready.PID, "agent": line.PID, "sandbox": sandbox}
	look := func(path string, most int) {
		t.Helper()
		said := ""
		for _, name := range []string{"broker", "agent", "sandbox"} {
			n, what := inMemory(t, processes[name], pin)
			said += fmt.Sprintf("; %s %d%s", name, n, what)
			if name == "broker" && n > 0 || most >= 0 && n > most {
				t.Errorf("%s: the %s's memory holds the PIN:%s", path, name, what)
			}
			for _, file := range []string{"cmdline", "environ"} {
				content, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", processes[name], file))
				if found := kept.find(content); err != nil || len(found) > 0 {
					t.Errorf("%s of the %s holds %v, %v", file, name, found, err)
				}
			}
		}
		t.Logf("%-28s%s", path, said)
	}
	look("before", 0)
	for _, path := range h.pinPaths(alice, at, reader, public, pin, clear) {
		a := path.take()
		if a.Status != path.want {
			t.Errorf("%s: answered %d %s, want %d", path.name, a.Status, a.Body, path.want)
		}
		if found := kept.find(a.Body); len(found) > 0 {
			t.Errorf("%s: the answer holds %v: %s", path.name, found, a.Body)
		}
		look(path.name, path.most)
	}
	for range 20 { // others use the same buffers
		h.ask(alice, "tcp4", at, request("GET", at, "/v3/readers", ""))
	}
	look("after other requests", -1)
	os.Remove(alice.Home + "/typed")
	h.broker.Stop()
	h.searchFiles(kept)
}

// pinPath is one way of a PIN to the card.
type pinPath struct {
	name string
	want int
	most int // copies in agent and sandbox afterwards, one more than were ever seen: a stack may be copied at any time; -1: any
	take func() answer
}

func (h *host) pinPaths(alice *stage.Person, at, reader, public, pin string, clear bool) []pinPath {
	h.t.Helper()
	var keys api.DeviceKeys
	json.Unmarshal(h.ask(alice, "tcp4", at, request("GET", at, "/cb/v1/device-key", "")).Body, &keys)
	verify := func(field string) answer {
		return h.verifyPIN(alice, at, reader, `{"reference":"80","aid":"A000000308"`+field+`}`)
	}
	jwe := func(n int) func() answer {
		return func() answer {
			var c api.PINChallenge
			json.Unmarshal(h.ask(alice, "tcp4", at, request("POST", at, "/cb/v1/pin-challenges", "")).Body, &c)
			text, err := sealed.JWE(keys.Keys[n], sealed.NewHeader(keys.Keys[n], reader, c.Nonce), []byte(pin))
			if err != nil {
				h.t.Fatal(err)
			}
			return verify(`,"pin":"` + text + `"`)
		}
	}
	paths := []pinPath{
		{"RSA PKCS#1 v1.5", 200, 1, func() answer {
			blob, err := sealed.PKCS1(public, []byte(pin))
			if err != nil {
				h.t.Fatal(err)
			}
			return verify(`,"pin":"` + blob + `"`)
		}},
		{"JWE to P-256", 200, 1, jwe(0)},
		{"JWE to RSA", 200, 1, jwe(1)},
		{"the prompt", 200, 1, func() answer { return verify("") }},
	}
	tunnelled := func(use func(t *virtualreader.Tunnel) string) func() answer {
		return func() answer {
			tunnel := h.tunnel(alice)
			defer tunnel.Close()
			if got := use(tunnel); got != "9000" {
				return answer{Body: []byte(got)}
			}
			return answer{Status: 200}
		}
	}
	page := func(pin string) func() answer {
		return func() answer {
			if pin != "" {
				blob, err := sealed.PKCS1(public, []byte(pin))
				if err != nil {
					h.t.Fatal(err)
				}
				pin = `,"pin":"` + blob + `"`
			}
			return h.ask(alice, "tcp4", at, request("POST", at, "/cb/v1/readers/"+reader+"/verify-pin", `{"reference":"80","aid":"A000000308"`+pin+`}`,
				"Origin: https://shop.example", "X-CSRF-Token: x", "Content-Type: application/json"))
		}
	}
	if !clear {
		return append(paths,
			pinPath{"a page's, which is kept", 200, 2, page(pin)},
			pinPath{"the one that was kept", 200, 2, page("")},
			pinPath{"a tunnel's pin pad", 200, 1, tunnelled(func(t *virtualreader.Tunnel) string { return pad(h.Context(), t, 15) })},
			pinPath{"in clear, refused", 412, 2, func() answer { return verify(`,"pin":"` + pin + `"`) }})
	}
	return append(paths,
		pinPath{"a tunnel, passed through", 200, -1, tunnelled(func(t *virtualreader.Tunnel) string {
			return h.transmit(t, "0020008008"+hex.EncodeToString([]byte(pin)))
		})},
		pinPath{"a script, passed through", 200, -1, tunnelled(func(t *virtualreader.Tunnel) string { return h.scriptWith(t, pin) })},
		pinPath{"in clear", 200, -1, func() answer { return verify(`,"pin":"` + pin + `"`) }},
		pinPath{"as a number", 400, -1, func() answer { return verify(`,"pin":` + pin) }},
		pinPath{"twice", 400, -1, func() answer { return verify(`,"pin":"` + pin + `","pin":"` + pin + `"`) }},
		pinPath{"in JSON that ends early", 400, -1, func() answer { return verify(`,"pin":"` + pin + `" x`) }})
}

// scriptWith sends a PIN in a script, and looks for it in the journal of the lease and in the metrics. It returns the status word.
func (h *host) scriptWith(t *virtualreader.Tunnel, pin string) string {
	h.t.Helper()
	verify := append([]byte{0x00, 0x20, 0x00, 0x80, 0x08}, pin...)
	steps := []script.Step{{Command: []byte{0x00, 0x20, 0x00, 0x80}, OnMismatch: script.ActionContinue}, {Command: verify}}
	result, err := t.Run(h.Context(), script.Script{Steps: steps}, nil)
	if err != nil || len(result.Steps) != 2 {
		return fmt.Sprintf("%v %v", result.Outcome, err)
	}
	kept, journals := canaries{"pin": []byte(pin)}, 0
	err = filepath.WalkDir(h.Path(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".journal" {
			return err
		}
		journals++
		content, err := os.ReadFile(path)
		if found := kept.find(content); len(found) > 0 {
			h.t.Errorf("%s holds %v", path, found)
		}
		return err
	})
	if err != nil || journals != 1 {
		h.t.Errorf("%d journals were looked at, %v, want 1", journals, err)
	}
	if found := kept.find(h.local(root(), "GET", "/metrics", nil).Body); len(found) > 0 {
		h.t.Errorf("the metrics hold %v", found)
	}
	return result.Steps[1].SW.String()
}
