// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/peer"
)

// record hands an event that the broker saw to the audit log; of is whom it is about, nil: the broker itself.
func (b *Broker) record(of *cardbroker.AgentKey, e cardbroker.Event) {
	b.metrics.Recorded(e.Name)
	if b.cfg.Audit != nil {
		b.cfg.Audit.Record(of, e)
	}
}

// say hands an event that an agent tells of to the audit log. Whose agent it is the broker knows by itself.
func (b *Broker) say(of cardbroker.AgentKey, e api.Event) {
	b.metrics.Said(e.Name)
	if b.cfg.Audit != nil {
		b.cfg.Audit.Say(of, e)
	}
}

// refused keeps a refusal for `cardbroker host explain`, and records it: as that of a back end that is not who it says, of an API
// key, or of a caller. A back end's cause is for the administrator alone.
func (b *Broker) refused(r httpserver.Refusal) {
	b.board.refused(newRefusal(r.Caller, r.Err))
	said := api.Describe(r.Err)
	b.metrics.CallerRefused(said.Rule)
	e := cardbroker.Event{Name: cardbroker.EventCallerRefused, Reason: said.Reason, Rule: said.Rule, Detail: said.Description}
	_, byKey := errors.AsType[keyRefused](r.Err)
	switch {
	case byKey:
		e.Name, e.Method = cardbroker.EventTokenRefused, "api_key"
	case said.Rule == cardbroker.RuleToken || said.Rule == cardbroker.RuleTokenTime:
		e.Name, e.Detail = cardbroker.EventTenantRefused, explainError(r.Err).Detail
	}
	if r.Caller.Client.IsValid() {
		e.Address = r.Caller.Client.String()
	}
	b.record(caller(r.Caller), e)
}

// caller returns whom a refusal is about; nil: the kernel did not name him.
func caller(c peer.Caller) *cardbroker.AgentKey {
	if c.Inode == 0 && c.PID == 0 {
		return nil
	}
	return &cardbroker.AgentKey{User: c.User}
}

// sayRefused records a caller that an agent says it has refused.
func (b *Broker) sayRefused(of cardbroker.AgentKey, m api.CallerRefused) {
	e := cardbroker.Event{Name: cardbroker.EventCallerRefused, Reason: m.Reason, Rule: m.Rule, Address: m.Client, Detail: m.Detail}
	if m.UID != nil {
		e.Detail = fmt.Sprintf("uid %d: %s", *m.UID, m.Detail)
	}
	b.say(of, api.Event{Time: time.Now(), Event: e})
}

// auditStatus says how the audit log is.
func (b *Broker) auditStatus(w http.ResponseWriter, _ *http.Request) error {
	if b.cfg.Audit == nil {
		return cardbroker.Errorf(cardbroker.Unavailable, "this broker keeps no audit log")
	}
	return httpserver.JSON(w, b.cfg.Audit.Status())
}

const (
	longStall = 5.0 // seconds for which a disk may be silent
	lowDisk   = 20  // free is less than a twentieth
	lateTell  = 2 * time.Hour
)

// checkAudit says whether evidence is written, and would be missed if it were gone.
func (b *Broker) checkAudit() api.Check {
	if b.cfg.Audit == nil {
		return api.Check{ID: "audit", Status: statusWarn, Detail: "nothing is recorded"}
	}
	s := b.cfg.Audit.Status()
	check := api.Check{ID: "audit", Status: statusOK, Detail: fmt.Sprintf("%d records, %d files of %d MiB together", s.Seq, s.Files, s.Bytes>>20)}
	switch {
	case s.Failing != "" || s.Stalled > longStall:
		check.Status, check.Fix = statusFail, "look at the disk of the state directory; the broker goes on, and counts the events that it cannot keep"
		check.Detail = cmp.Or(s.Failing, fmt.Sprintf("the disk has not answered for %.0f s", s.Stalled))
	case s.Damage != "":
		check.Status, check.Fix = statusFail, "find out who changed it: cardbroker host audit verify"
		check.Detail = "at the start the log was not as it had been left: " + s.Damage
	default:
		check.Detail, check.Status = auditWarnings(s, check.Detail)
	}
	return check
}

// auditWarnings adds what works less well.
func auditWarnings(s api.AuditStatus, detail string) (string, string) {
	var warnings []string
	if s.Lost > 0 {
		warnings = append(warnings, fmt.Sprintf("%d events were too many and are lost (records events_lost say whose)", s.Lost))
	}
	if s.TellError != "" {
		warnings = append(warnings, "the system log does not take the head: "+s.TellError)
	} else if s.Told != nil && time.Since(*s.Told) > lateTell {
		warnings = append(warnings, "the system log was not told of the head for two hours")
	}
	if s.DiskBytes > 0 && s.FreeBytes < s.DiskBytes/lowDisk {
		warnings = append(warnings, fmt.Sprintf("%d MiB of the disk are free", s.FreeBytes>>20))
	}
	if len(warnings) == 0 {
		return detail, statusOK
	}
	return detail + "; " + strings.Join(warnings, "; "), statusWarn
}
