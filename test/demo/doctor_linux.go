// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/cardbroker/cardbroker/api"
)

// missing is policy for a module that nobody has installed.
const missing = "modules:\n  vendor: {library: /usr/lib/vendor/libvendor-pkcs11.so}\n"

// doctor has alice ask what is wrong: nothing, and then a fault that an administrator makes.
func (st *story) doctor() error {
	st.scene("What is wrong? agent doctor")
	_, port, _ := strings.Cut(st.host.Listen[0], ":")
	args := []string{"doctor", "--port", port}
	if len(st.beds) > 0 {
		args = append(args, "--policy", st.policy, "--pcsc-socket", st.beds[0].Socket())
	}
	said, status, err := st.diagnose(args)
	if err != nil {
		return err
	}
	st.check(status == 0, "alice's doctor finds no failure", fmt.Sprintf("%d checks, exit status %d", len(said.Checks), status))
	for _, c := range said.Checks {
		if c.Status == "ok" && c.ID == "module" || c.Status == "fail" || c.Status == "warn" {
			st.note("%-10s %-4s %s", c.ID, c.Status, strings.TrimSuffix(c.Detail+"; "+c.Fix, "; "))
		}
	}
	dir, id := st.policy, "module"
	what := "an administrator names a module that is not installed: the doctor says so, and what to do"
	if dir == "" {
		if dir, id = st.Path("policy"), "policy"; os.Mkdir(dir, 0o755) != nil {
			return fmt.Errorf("no policy can be written")
		}
		args = append(args, "--policy", dir)
		what = "alice makes machine policy herself, with a module: the doctor says why that does not count, and what to do"
	}
	if err := os.WriteFile(dir+"/vendor.yaml", []byte(missing), 0o644); err != nil {
		return err
	}
	defer os.Remove(dir + "/vendor.yaml")
	said, status, err = st.diagnose(args)
	if err != nil {
		return err
	}
	fault := api.Check{Detail: "nothing"}
	for _, c := range said.Checks {
		if c.ID == id && c.Status == "fail" {
			fault = c
		}
	}
	st.check(status != 0 && fault.Fix != "", what, fmt.Sprintf("exit status %d", status))
	st.note("%-10s %-4s %s", fault.ID, fault.Status, fault.Detail)
	st.note("%-15s → %s", "", fault.Fix)
	return nil
}

// diagnose asks alice's doctor, and returns his exit status.
func (st *story) diagnose(args []string) (d api.Diagnosis, status int, err error) {
	out, err := st.agent(&st.Users[0], args...)
	if err != nil {
		return d, 0, err
	}
	if err := json.Unmarshal(out.Stdout, &d); err != nil {
		return d, 0, fmt.Errorf("agent doctor: %w %s", err, out.Stderr)
	}
	return d, out.Status, nil
}
