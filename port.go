// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cardbroker

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Port is a TCP port. 0 means none, or any where a port may be chosen by the system.
type Port uint16

// DefaultPorts are the ports that agents get: below every ephemeral range, so that no client socket of the host takes
// one, and without 27000–27009, where licence servers live.
const DefaultPorts = "24800-26999,27010-31999"

// Ports is a set of ports, in ascending order without repetition.
type Ports []Port

// ParsePorts reads ranges joined by commas, such as "24800-26999,27010-31999,40000". Ranges may overlap; port 0 is not
// allowed.
func ParsePorts(s string) (Ports, error) {
	var ports Ports
	for field := range strings.SplitSeq(s, ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(field), "-")
		if !isRange {
			last = first
		}
		lo, err := parsePort(first)
		if err != nil {
			return nil, fmt.Errorf("ports %q: %w", field, err)
		}
		hi, err := parsePort(last)
		if err != nil {
			return nil, fmt.Errorf("ports %q: %w", field, err)
		}
		if hi < lo {
			return nil, fmt.Errorf("ports %q: %w", field, Errorf(Invalid, "%d is after %d", lo, hi))
		}
		for p := int(lo); p <= int(hi); p++ {
			ports = append(ports, Port(p))
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports), nil
}

func parsePort(s string) (Port, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, Errorf(Invalid, "%q is not a port (1 to 65535)", s)
	}
	return Port(n), nil
}
