// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package notice

import (
	"context"
	"fmt"
	"time"

	"github.com/cardbroker/cardbroker/internal/certs"
	"github.com/cardbroker/cardbroker/internal/token"
)

// maxTold is how many certificates are remembered as told of; more than a user has.
const maxTold = 256

// certificate names a certificate to a person: those of one name with one end are one to him.
type certificate struct {
	name string
	ends time.Time
}

// expiring tells of the certificates of a list that are in their last days, each once a day. Those of authorities are for
// others to renew.
func (n *Notifier) expiring(ctx context.Context, list []token.Certificate) {
	now := time.Now()
	for _, one := range list {
		c, err := certs.ParseDER(one.DER)
		if err != nil || c.CA() || c.Warning(now) != certs.ExpiresSoon {
			continue
		}
		which, today := certificate{c.Subject.CN(), c.NotAfter}, now.Local().Format(time.DateOnly)
		if n.told[which] == today || !n.connect(ctx) || !n.rate.Allow() {
			continue
		}
		if len(n.told) >= maxTold {
			clear(n.told)
		}
		n.told[which] = today
		n.show(ctx, 0, ends(c, now))
	}
}

func ends(c certs.Certificate, now time.Time) text {
	left := "less than a day"
	if days := int(c.NotAfter.Sub(now).Hours() / 24); days == 1 {
		left = "a day"
	} else if days > 1 {
		left = fmt.Sprintf("%d days", days)
	}
	return text{
		summary: "A certificate on your card expires soon",
		body: fmt.Sprintf("The certificate of %s, issued by %s, is valid until %s, for %s more. Ask who gave you the card for a new one.",
			clean(c.Subject.CN()), clean(c.Issuer.CN()), c.NotAfter.Local().Format("2 January 2006"), left),
	}
}
