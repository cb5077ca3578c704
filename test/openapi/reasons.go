// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package openapi

import (
	"slices"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/cardbroker/cardbroker"
)

// Reasons returns why an operation may fail at one of its servers, beside [Faults]: as all of its kind do, and by x-reasons.
func Reasons(server string, o *openapi3.Operation) []cardbroker.Reason {
	access, _ := o.Extensions["x-access"].(string)
	reasons := []cardbroker.Reason{cardbroker.Invalid, cardbroker.OriginDenied, cardbroker.TooLarge, cardbroker.RateLimited}
	if server == "agent" {
		reasons = append(reasons, cardbroker.CallerRefused, cardbroker.AgentRestarting) // the latter by the broker, while no agent is there
	}
	if access != "public" {
		reasons = append(reasons, cardbroker.ConsentRequired)
	}
	if server == "agent" && access != "public" {
		reasons = append(reasons, cardbroker.Forbidden) // of programs, where policy lets pages in alone
	}
	if server == "agent" && access == "self" || access == "tenant" || access == "key" {
		reasons = append(reasons, cardbroker.Unauthenticated)
	}
	more, _ := o.Extensions["x-reasons"].([]any)
	for _, reason := range more {
		if text, ok := reason.(string); ok && !slices.Contains(reasons, cardbroker.Reason(text)) {
			reasons = append(reasons, cardbroker.Reason(text))
		}
	}
	return reasons
}

// Faults are reasons that every operation may have, and that are not its own: a fault of the program, a full queue, a kernel that
// does not say who calls or cannot be asked, a server that stops.
func Faults() []cardbroker.Reason {
	return []cardbroker.Reason{cardbroker.Internal, cardbroker.Overloaded, cardbroker.CallerRefused, cardbroker.Unavailable}
}
