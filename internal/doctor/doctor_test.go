// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package doctor_test

import (
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/doctor"
)

// TestVerdict: the first failure decides; a warning does not.
func TestVerdict(t *testing.T) {
	findings := []doctor.Finding{doctor.OK("a", "fine"), doctor.Warn("b", "do", "not %s", "so"), doctor.Unknown("c", "who knows")}
	if err := doctor.Verdict(findings); err != nil {
		t.Errorf("Verdict() = %v, want nil", err)
	}
	findings = append(findings, doctor.Fail(cardbroker.Unavailable, "d", "start it", "gone"), doctor.Fail(cardbroker.Invalid, "e", "", ""))
	if err := doctor.Verdict(findings); cardbroker.ReasonOf(err) != cardbroker.Unavailable {
		t.Errorf("Verdict() = %v, want %s", err, cardbroker.Unavailable)
	}
	d := doctor.Diagnosis("none", findings)
	if len(d.Checks) != 5 || d.Mode != "none" || d.Checks[1].Detail != "not so" || d.Checks[1].Fix != "do" || d.Checks[3].Status != "fail" {
		t.Errorf("Diagnosis() = %+v", d)
	}
	if d := doctor.Diagnosis("none", nil); d.Checks == nil {
		t.Error("no checks are null")
	}
}
