// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package contract_test

import (
	"os"
	"slices"
	"strings"
)

// excuse is why answers are documented that [TestEveryAnswer] does not bring about: those that end so.
type excuse = struct{ end, why string }

// unseenReasons are the same for reasons.
var unseenReasons = []excuse{
	{" timeout", "a part of another process hangs: test/integration"},
	{" reader_shared_host", "a PC/SC service of several users: test/integration"},
	{" card_absent", "cards in real readers: test/integration, agent/pin, agent/remoteloading"},
	{" card_mute", "the same"},
	{" card_removed", "the same"},
	{" card_reset", "the same"},
	{" indeterminate", "a sandbox that is killed: the same"},
	{"agent GET /device-key no_agent", "the broker's"},
	{"agent GET /device-key session_ambiguous", "the same"},
	{" GET /device-key unavailable", "for the moment that a key takes, which is seen or is not"},
	{"/cb/v1/device-key unavailable", "the same"},
	{"/verify-pin pin_blocked", "a card that is used up: agent/pin"},
	{"/verify-pin reader_busy", "another asks at the same moment: agent/pin"},
	{"/verify-pin card_unexpected", "a card that is none of PIV: agent/pin"},
	{"broker GET /device-key agent_restarting", "for the moment in which an agent starts: broker"},
}

// count says how many of the documented answers were seen, by status and by reason.
func (h *host) count() {
	h.compare("status", h.checker.Documented(), h.checker.Seen(), unseen)
	h.compare("reason", h.checker.DocumentedReasons(), h.checker.SeenReasons(), unseenReasons)
}

func (h *host) compare(what string, documented, seen []string, excuses []excuse) {
	excused := 0
	for _, answer := range documented {
		i := slices.IndexFunc(excuses, func(e excuse) bool { return strings.HasSuffix(answer, e.end) })
		switch {
		case slices.Contains(seen, answer) && i >= 0 && excuses[i].end == answer:
			h.t.Errorf("%s is seen: it needs no excuse", answer)
		case slices.Contains(seen, answer):
		case i >= 0:
			excused++
			h.t.Logf("not seen: %s (%s)", answer, excuses[i].why)
		case os.Geteuid() == 0:
			h.t.Errorf("%s is documented, and was not seen", answer)
		}
	}
	h.t.Logf("%d pairs of route and %s documented, %d seen, %d excused", len(documented), what, len(documented)-excused, excused)
}
