// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package contract_test

import (
	"os"
	"slices"
	"strings"
)

// excuse is why answers are documented that [TestEveryAnswer] does not bring about: those that end so.
type excuse struct{ end, why string }

// unseen are documented answers that [TestEveryAnswer] does not bring about, by how they end, and why.
var unseen = []excuse{
	{" 500", "a fault of the program"},
	{"broker GET /info 503", "the kernel cannot be asked who is calling"},
	{"broker GET /openapi.yaml 503", "the same"},
	{"broker GET /docs 503", "the same"},
	{"door GET /cb/v1/readers 503", "a queue is full"},
	{"door GET /cb/v1/readers/events 503", "the same"},
	{"door GET /cb/v1/jwks.json 503", "the broker stops"},
	{"door POST /cb/v1/tokens 503", "the same"},
	{"agent GET /cb/v1/events 504", "a sandbox hangs"},
	{"agent GET /v3/readers 504", "the same"},
	{"agent GET /v3/readers/{id} 504", "the same"},
	{"agent POST /cb/v1/offers 504", "the same"},
	{"agent POST /cb/v1/leases/{tunnel}/revoke 504", "the same"},
	{"agent GET /device-key 409", "the broker's: a session that is not told apart"},
	{"agent GET /device-key 412", "the broker's: no agent"},
	{" GET /device-key 503", "for the moment that a key takes, which is seen or is not"},
	{"agent POST /cb/v1/readers/{id}/verify-pin 423", "a blocked card: agent/pin"},
	{"agent POST /cb/v1/readers/{id}/verify-pin 504", "a sandbox hangs"},
	{"agent POST /cb/v1/consents 504", "a disk hangs"},
	{"agent POST /cb/v1/consents/revoke 504", "the same"},
	{"broker GET /v3/agents 504", "an agent hangs"},
	{"broker POST /v3/consent 504", "the same"},
	{"broker POST /v3/validate 504", "the same"},
}

// unseenReasons are the same for reasons.
var unseenReasons = []excuse{
	{" timeout", "a part of another process hangs: test/integration"},
	{" reader_shared_host", "a PC/SC service of several users: test/integration"},
	{"agent GET /device-key no_agent", "the broker's"},
	{"agent GET /device-key session_ambiguous", "the same"},
	{" GET /device-key unavailable", "for the moment that a key takes, which is seen or is not"},
	{"/cb/v1/device-key unavailable", "the same"},
	{"/verify-pin pin_blocked", "a card that is used up: agent/pin"},
	{"/verify-pin reader_busy", "another asks at the same moment: agent/pin"},
	{"/verify-pin card_absent", "a card in a real reader: agent/pin"},
	{"/verify-pin card_mute", "the same"},
	{"/verify-pin card_removed", "the same"},
	{"/verify-pin card_reset", "the same"},
	{"/verify-pin card_unexpected", "a card that is none of PIV: agent/pin"},
	{"/verify-pin indeterminate", "a sandbox that is killed: agent/pin"},
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
