// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package tokenbed

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"os/exec"
)

//go:embed testdata/fake.c
var fakeSource []byte

// Fake builds a library with two slots, whose tokens are "a" and "b" and take any PIN. What it does wrong say the words of the environment variable
// FAKE; its source tells them.
func Fake(ctx context.Context, library string) error {
	headers, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/miekg/pkcs11").Output()
	if err != nil {
		return fmt.Errorf("no headers of PKCS#11: %w", err)
	}
	compile := exec.CommandContext(ctx, "gcc", "-shared", "-fPIC", "-w", "-I", string(bytes.TrimSpace(headers)), "-o", library, "-x", "c", "-")
	compile.Stdin = bytes.NewReader(fakeSource)
	if said, err := compile.CombinedOutput(); err != nil {
		return fmt.Errorf("no fake library: %w: %s", err, said)
	}
	return nil
}
