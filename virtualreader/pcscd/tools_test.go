// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pcscd_test

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"

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
