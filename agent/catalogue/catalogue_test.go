// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package catalogue_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker/agent/catalogue"
	"github.com/cardbroker/cardbroker/internal/run"
)

// startCatalogue runs a catalogue of a list with that text, and returns the list's path and what is logged.
func startCatalogue(t *testing.T, text string) (c *catalogue.Catalogue, path string, log *bytes.Buffer) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "list.txt")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	log = &bytes.Buffer{}
	c = catalogue.New([]string{path + ".missing", path}, slog.New(slog.NewTextHandler(log, nil)))
	group := run.New(t.Context())
	group.Go("catalogue", c.Run)
	t.Cleanup(func() { group.Stop() })
	return c, path, log
}

func TestCatalogue(t *testing.T) {
	c, path, log := startCatalogue(t, "3B 00\n\tblank\n\n3B 0.\n\tany\n")
	known := c.Describe(t.Context(), []string{"3B00", "", "3B01", "3F00", "none"})
	for atr, want := range map[string][]string{"3B00": {"blank", "any"}, "3B01": {"any"}, "3F00": nil, "": nil, "none": nil} {
		if !slices.Equal(known[atr], want) {
			t.Errorf("describe(%q) = %q, want %q", atr, known[atr], want)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	known = c.Describe(t.Context(), []string{"3B00", "3B02"})
	if got := known["3B00"]; !slices.Equal(got, []string{"blank", "any"}) {
		t.Errorf("describe without the list = %q, want what was known", got)
	}
	if got, seen := known["3B02"]; len(got) > 0 || !seen {
		t.Errorf("describe of a new card without a list = %q, %v, want nothing, remembered", got, seen)
	}
	if log.Len() > 0 {
		t.Errorf("logged %s, want nothing", log)
	}
}

// TestCatalogueReadsOnlyForNewCards: readers without a card, and cards that do not answer, cost nothing.
func TestCatalogueReadsOnlyForNewCards(t *testing.T) {
	c, path, log := startCatalogue(t, "")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil { // reading it fails, and is logged
		t.Fatal(err)
	}
	c.Describe(t.Context(), nil)
	c.Describe(t.Context(), []string{""})
	if log.Len() > 0 {
		t.Errorf("logged %s, want nothing", log)
	}
	c.Describe(t.Context(), []string{"3B00"})
	c.Describe(t.Context(), []string{"3B00"})
	if got := strings.Count(log.String(), "cards are not described"); got != 1 {
		t.Errorf("logged %s, want one line", log)
	}
}

func TestCatalogueTellsOfMalformedLines(t *testing.T) {
	c, _, log := startCatalogue(t, "3B 00\n\tblank\n\n3B\n")
	if known := c.Describe(t.Context(), []string{"3B00"}); !slices.Equal(known["3B00"], []string{"blank"}) {
		t.Errorf("describe = %q, want the card that is well described", known["3B00"])
	}
	if want := "line 4: a pattern without a description"; !strings.Contains(log.String(), want) {
		t.Errorf("logged %s, want %s", log, want)
	}
}

// TestCatalogueIsBounded forgets rather than grows, but never what it was just asked for.
func TestCatalogueIsBounded(t *testing.T) {
	c, _, _ := startCatalogue(t, "3B .. ..\n\tany\n")
	for i := range 3 * 64 {
		atr := fmt.Sprintf("3B00%02X", i)
		if known := c.Describe(t.Context(), []string{atr}); len(known[atr]) != 1 || len(known) > 64 {
			t.Fatalf("describe(%s) = %q of %d", atr, known[atr], len(known))
		}
	}
}

// TestCatalogueDropsTheList: what is left of a list of 40,000 patterns, 5 MiB, is the description of one card.
func TestCatalogueDropsTheList(t *testing.T) {
	var text strings.Builder
	for i := range 40_000 {
		fmt.Fprintf(&text, "3B %02X %02X .. %02X\n\tthe card with the number %d%s\n\n", i>>16, i>>8&0xFF, i&0xFF, i, strings.Repeat(" and so on", 8))
	}
	c, _, _ := startCatalogue(t, text.String())
	text.Reset()
	before := resident()
	if known := c.Describe(t.Context(), []string{"3B0000FF07"}); len(known["3B0000FF07"]) != 1 {
		t.Errorf("describe = %q", known)
	}
	var after runtime.MemStats
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapSys-after.HeapReleased) - before; grown > 3<<20 {
		t.Errorf("%d bytes more are the process's right after it, want next to none", grown)
	}
	if grown := resident() - before; grown > 1<<20 {
		t.Errorf("%d bytes are kept, want next to none", grown)
	}
}

// resident returns how many bytes of the heap are in use after all that can be given back was.
func resident() int64 {
	var m runtime.MemStats
	debug.FreeOSMemory()
	runtime.ReadMemStats(&m)
	return int64(m.HeapSys - m.HeapReleased)
}

// TestCatalogueAtItsEnd answers without descriptions, and waits for nobody.
func TestCatalogueAtItsEnd(t *testing.T) {
	c := catalogue.New(nil, slog.New(slog.DiscardHandler))
	group := run.New(t.Context())
	group.Go("catalogue", c.Run)
	group.Stop()
	if known := c.Describe(t.Context(), []string{"3B00"}); len(known) != 0 {
		t.Errorf("describe = %q, want nothing", known)
	}
}
