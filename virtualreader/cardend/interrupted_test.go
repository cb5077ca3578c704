// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardend

import (
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/virtualreader/cardend/journal"
	"github.com/cardbroker/cardbroker/virtualreader/script"
)

// TestInterrupted between two steps: nothing is in doubt.
func TestInterrupted(t *testing.T) {
	answered := func(step int) journal.Step {
		return journal.Step{Index: step, Response: script.StepResult{Step: step, SW: 0x9000, Matched: true}.Append(nil)}
	}
	r := interrupted([]journal.Step{answered(3), answered(5)})
	if r.Outcome != script.Failed || r.Step != 6 || len(r.Steps) != 2 || r.Why.Reason != cardbroker.CardReset {
		t.Errorf("between two steps: %+v", r)
	}
	torn := answered(5)
	torn.Response = torn.Response[:4]
	r = interrupted([]journal.Step{answered(3), torn})
	if r.Outcome != script.Indeterminate || r.Step != 5 || len(r.Steps) != 1 || r.Why.Reason != cardbroker.Indeterminate {
		t.Errorf("in a step: %+v", r)
	}
}
