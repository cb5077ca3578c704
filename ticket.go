// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardbroker

import (
	"encoding/hex"
	"strings"
)

// Route finds the Agent of a Session through the Broker: 16 hexadecimal digits, which the Broker gives out when the Agent
// registers, the same for the next Agent of the Session. It is public.
type Route string

// Ticket is the one-time proof that a user offered a reader to a tenant: cbt1.<route>.<secret>. The Agent mints, checks
// and burns it; the Broker reads its Route only.
type Ticket struct {
	Route  Route
	Secret Secret
	Resume bool // it is no offer's, but a lease's: cbr1.<route>.<secret>, which takes the lease up again, any number of times
}

// TicketReader is the id that a back end may give for the reader that its ticket is for.
const TicketReader ReaderID = "-"

const (
	ticketPrefix = "cbt1."
	resumePrefix = "cbr1."
)

// ParseTicket reads a ticket's text. Its errors never repeat the text.
func ParseTicket(text string) (Ticket, error) {
	rest, resume := strings.CutPrefix(text, resumePrefix)
	if !resume {
		var ok bool
		if rest, ok = strings.CutPrefix(text, ticketPrefix); !ok {
			return Ticket{}, Errorf(Invalid, "a ticket starts with %q", ticketPrefix)
		}
	}
	route, secret, _ := strings.Cut(rest, ".")
	if _, err := hex.DecodeString(route); err != nil || len(route) != 16 {
		return Ticket{}, Errorf(Invalid, "the ticket's route is not 16 hexadecimal digits")
	}
	if len(secret) != RandomSecretSize || indexOther(secret, "-_") >= 0 {
		return Ticket{}, Errorf(Invalid, "the ticket's secret is not %d characters of base64url", RandomSecretSize)
	}
	return Ticket{Route: Route(route), Secret: NewSecret([]byte(secret)), Resume: resume}, nil
}

// Reveal returns the ticket's text, for the one message that hands it over.
func (t Ticket) Reveal() string {
	prefix := ticketPrefix
	if t.Resume {
		prefix = resumePrefix
	}
	return prefix + string(t.Route) + "." + string(t.Secret.Reveal())
}
