// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package epoch_test

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker/internal/epoch"
	"github.com/cardbroker/cardbroker/internal/testenv"
)

// TestTimeNamespace: who runs where the clock was set forward, or back, gives his term the number that everybody else would.
func TestTimeNamespace(t *testing.T) {
	if os.Getenv("CARDBROKER_TEST_EPOCH") != "" {
		os.Stdout.WriteString("epoch " + strconv.FormatUint(epoch.Now(), 10) + "\n")
		return
	}
	testenv.Root(t)
	for _, offset := range []string{"1000000", "-1"} {
		before := epoch.Now()
		cmd := exec.Command(testenv.Tool(t, "unshare"), "--time", "--boottime", offset, os.Args[0], "-test.run=^TestTimeNamespace$")
		cmd.Env = append(os.Environ(), "CARDBROKER_TEST_EPOCH=1", "GORACE=atexit_sleep_ms=0")
		out, err := cmd.CombinedOutput()
		_, text, _ := strings.Cut(string(out), "epoch ")
		text, _, _ = strings.Cut(text, "\n")
		there, _ := strconv.ParseUint(text, 10, 64)
		if after := epoch.Now(); err != nil || there < before || there > after {
			t.Errorf("%s s ahead it is %d, between %d and %d here: %v\n%s", offset, there, before, after, err, out)
		}
	}
}
