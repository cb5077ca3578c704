// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package doctor is what all doctors have in common: findings, and what they come to. It looks at nothing itself.
package doctor

import (
	"fmt"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
)

// The statuses of a check. Unknown: it could not be looked at.
const (
	StatusOK      = "ok"
	StatusWarn    = "warn"
	StatusFail    = "fail"
	StatusUnknown = "unknown"
)

// Finding is what a check has found, and of a failure which kind it is.
type Finding struct {
	api.Check
	Reason cardbroker.Reason // of a failure
}

// OK is nothing to do.
func OK(id, format string, args ...any) Finding { return found(id, StatusOK, "", format, args) }

// Unknown is what could not be found out.
func Unknown(id, format string, args ...any) Finding {
	return found(id, StatusUnknown, "", format, args)
}

// Warn is what works now, or for some. fix says what to do.
func Warn(id, fix, format string, args ...any) Finding {
	return found(id, StatusWarn, fix, format, args)
}

// Fail is what does not work. fix says what to do.
func Fail(reason cardbroker.Reason, id, fix, format string, args ...any) Finding {
	f := found(id, StatusFail, fix, format, args)
	f.Reason = reason
	return f
}

func found(id, status, fix, format string, args []any) Finding {
	return Finding{Check: api.Check{ID: id, Status: status, Detail: fmt.Sprintf(format, args...), Fix: fix}}
}

// Diagnosis is the answer of a doctor.
func Diagnosis(mode string, findings []Finding) api.Diagnosis {
	d := api.Diagnosis{Mode: mode, Checks: []api.Check{}}
	for _, f := range findings {
		d.Checks = append(d.Checks, f.Check)
	}
	return d
}

// Verdict is nil if nothing failed, else an error of the first failure's kind: a doctor looks at causes before what they cause.
func Verdict(findings []Finding) error {
	failed := 0
	var first Finding
	for _, f := range findings {
		if f.Status == StatusFail {
			if failed++; failed == 1 {
				first = f
			}
		}
	}
	if failed == 0 {
		return nil
	}
	return cardbroker.Errorf(first.Reason, "%d of %d checks failed, first %s: %s", failed, len(findings), first.ID, first.Detail)
}
