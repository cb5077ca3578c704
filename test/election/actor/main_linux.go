// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package actor

import (
	"context"
	"fmt"
	"os"
	"strconv"
)

// Name is what a program is called that plays actors.
const Name = "actor"

// Main plays what the arguments say, and returns the exit status:
//
//	writer PORT NAME FILE SOCKET
//	crowd PORT FIRST-UID USERS EACH
//	forge PORT…
//	member NAME ADDRESS…
func Main(args []string) int {
	if err := play(context.Background(), args); err != nil {
		fmt.Fprintln(os.Stderr, "actor:", err)
		return 1
	}
	return 0
}

func play(ctx context.Context, args []string) error {
	var n [4]int
	for i, arg := range args[min(1, len(args)):] {
		if i < len(n) {
			n[i], _ = strconv.Atoi(arg)
		}
	}
	switch {
	case len(args) == 5 && args[0] == "writer":
		return Write(ctx, Registry{n[0], args[4]}, args[2], args[3])
	case len(args) == 5 && args[0] == "crowd":
		return Watch(ctx, n[0], uint32(n[1]), n[2], n[3], os.Stdout)
	case len(args) >= 2 && args[0] == "forge":
		return Forge(ctx, args[1:])
	case len(args) >= 2 && args[0] == "member":
		return Member(ctx, args[1], args[2:], os.Stdout)
	}
	return fmt.Errorf("unknown arguments %q", args)
}
