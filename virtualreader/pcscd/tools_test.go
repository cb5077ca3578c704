// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcscd_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/cardbroker/cardbroker/internal/testenv"
	"github.com/cardbroker/cardbroker/virtualreader/pcscd"
)

// client runs a program against the server and returns what it printed.
func client(t *testing.T, socket, stdin, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, testenv.Tool(t, program), args...)
	cmd.Env = append(os.Environ(), "PCSCLITE_CSOCK_NAME="+socket)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s %q = %v\n%s", program, args, err, out)
	}
	return string(out)
}

func TestOpenSC(t *testing.T) {
	socket := serve(t, pcscd.Config{Source: softReader(t)})
	for _, test := range []struct{ flag, want string }{
		{"-l", "0    Yes             cardbroker Software Reader 00 00"},
		{"-a", "3b:8e:80:01:80:73:c0:21:c0:58:73:6f:66:74:63:61:72:64"},
		{"-n", "Personal Identity Verification Card"},
	} {
		if got := client(t, socket, "", "opensc-tool", test.flag); !strings.Contains(got, test.want) {
			t.Errorf("opensc-tool %s printed %q, want %q", test.flag, got, test.want)
		}
	}
}

// TestScriptor runs commands of the card, one of them an extended one.
func TestScriptor(t *testing.T) {
	socket := serve(t, pcscd.Config{Source: softReader(t)})
	long := "80 EE 00 00 00 04 00" + strings.Repeat(" A5", 1024)
	got := client(t, socket, "reset\n00 A4 04 00 09 A0 00 00 03 08 00 00 10 00 00\n80 EE 00 00 03 01 02 03\n"+long+"\n", "scriptor")
	for _, want := range []string{"Using T=1 protocol", "61 ", "01 02 03 90 00", "A5 A5 A5 \n90 00"} {
		if !strings.Contains(got, want) {
			t.Errorf("scriptor printed %q, want %q", got, want)
		}
	}
}

// TestScan watches cards and readers come and go with pcsc_scan.
func TestScan(t *testing.T) {
	source := softReader(t)
	socket := serve(t, pcscd.Config{Source: source})
	cmd := exec.CommandContext(t.Context(), testenv.Tool(t, "stdbuf"), "-o0", testenv.Tool(t, "pcsc_scan"), "-n")
	cmd.Env = append(os.Environ(), "PCSCLITE_CSOCK_NAME="+socket)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	printed := ""
	late := time.AfterFunc(waitLimit, func() { cmd.Process.Kill() })
	defer late.Stop()
	until := func(want string) {
		t.Helper()
		for b := make([]byte, 4096); !strings.Contains(printed, want); {
			n, err := pipe.Read(b)
			printed += string(b[:n])
			if err != nil {
				t.Fatalf("pcsc_scan printed %q, want %q", printed, want)
			}
		}
		_, printed, _ = strings.Cut(printed, want)
	}
	until("ATR: 3B 8E 80 01 80 73 C0 21 C0 58 73 6F 66 74 63 61 72 64")
	source.takeOut()
	until("Card removed")
	source.putIn()
	until("Card inserted")
	until(" | ") // it waits again: of a reader that comes between two waits, libpcsclite 1.9.9 does not tell
	source.plug("another reader")
	until("Reader 1: another reader")
	until(" | ")
	source.unplug()
	until("Reader 0: another reader")
}

// TestPKCS11 logs on and signs with OpenSC's module.
func TestPKCS11(t *testing.T) {
	socket := serve(t, pcscd.Config{Source: softReader(t)})
	module := "/usr/lib/x86_64-linux-gnu/opensc-pkcs11.so"
	if _, err := os.Stat(module); err != nil {
		testenv.Skip(t, "needs opensc-pkcs11")
	}
	run := func(args ...string) string {
		t.Helper()
		return client(t, socket, "", "pkcs11-tool", append([]string{"--module", module}, args...)...)
	}
	if got := run("-O"); strings.Count(got, "Certificate Object") != 4 {
		t.Errorf("pkcs11-tool -O printed %q, want 4 certificates", got)
	}
	got := run("--login", "--pin", "123456", "--test")
	if !strings.Contains(got, "\nNo errors\n") {
		t.Errorf("pkcs11-tool --test printed %q, want no errors", got)
	}
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/data", []byte("data to sign"), 0o600); err != nil {
		t.Fatal(err)
	}
	run("--login", "--pin", "123456", "--sign", "-m", "SHA256-RSA-PKCS", "--id", "01", "-i", dir+"/data", "-o", dir+"/signature")
	run("--read-object", "--type", "pubkey", "--id", "01", "-o", dir+"/key")
	got = client(t, socket, "", "openssl", "dgst", "-sha256", "-keyform", "DER", "-verify", dir+"/key", "-signature", dir+"/signature", dir+"/data")
	if !strings.Contains(got, "Verified OK") {
		t.Errorf("openssl printed %q, want a good signature", got)
	}
}

// TestPython has a program in Python check everything that pcscd does, through Debian's library.
func TestPython(t *testing.T) {
	python := "/usr/bin/python3" // another one in PATH does not have Debian's packages
	if err := exec.Command(python, "-c", "import smartcard").Run(); err != nil {
		testenv.Skip(t, "needs python3-pyscard")
	}
	source := softReader(t)
	socket := serve(t, pcscd.Config{Source: source})
	ctx, cancel := context.WithTimeout(t.Context(), 3*waitLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, "testdata/client.py")
	cmd.Env = append(os.Environ(), "PCSCLITE_CSOCK_NAME="+socket)
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	do := map[string]func(){
		"take out":  source.takeOut,
		"put in":    source.putIn,
		"plug":      func() { source.plug("another reader") },
		"unplug":    source.unplug,
		"plug back": source.putIn,
	}
	last := ""
	for lines := bufio.NewScanner(out); lines.Scan(); {
		last = lines.Text()
		t.Log(last)
		if f := do[last]; f != nil {
			f()
		}
	}
	if err := cmd.Wait(); err != nil || last != "ok" {
		t.Errorf("client.py = %v, its last line is %q, want ok", err, last)
	}
}
