// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// event is a line of go test -json; see go doc cmd/test2json, and go help buildjson for the two kinds of a build.
type event struct {
	Action      string
	Package     string
	ImportPath  string // in place of Package while building
	Test        string
	Output      string
	Elapsed     float64 // seconds
	FailedBuild string  // the ImportPath whose build failed
}

// report collects the events of one run and writes what a person wants to know.
type report struct {
	out      io.Writer
	packages map[string]*result
	builds   map[string]*strings.Builder // output of the compiler, by ImportPath
	passed   int
	failed   int
	skipped  []string // name (why)
}

// result is what is known of a package that runs.
type result struct {
	tests  int
	failed int
	output map[string]*strings.Builder // by test; "" is the package's own
}

func newReport(out io.Writer) *report {
	return &report{out: out, packages: make(map[string]*result), builds: make(map[string]*strings.Builder)}
}

// read takes events until the end of r. Lines that are none, such as those of a program that wrote past the tests, are
// passed on.
func (p *report) read(r io.Reader) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) == nil && e.Action != "" {
				p.event(e)
			} else {
				p.out.Write(line)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (p *report) event(e event) {
	if e.Action == "build-output" {
		appendTo(p.builds, e.ImportPath, e.Output)
		return
	}
	if e.Package == "" {
		return
	}
	pkg := p.packages[e.Package]
	if pkg == nil {
		pkg = &result{output: make(map[string]*strings.Builder)}
		p.packages[e.Package] = pkg
	}
	switch {
	case e.Action == "output":
		appendTo(pkg.output, e.Test, e.Output)
	case e.Test != "":
		p.testEnded(pkg, e)
	case e.Action == "pass", e.Action == "fail", e.Action == "skip":
		p.packageEnded(pkg, e)
		delete(p.packages, e.Package)
	}
}

func (p *report) testEnded(pkg *result, e event) {
	name := short(e.Package) + "." + e.Test
	switch e.Action {
	case "pass":
		p.passed++
	case "skip":
		p.skipped = append(p.skipped, name+" ("+why(take(pkg.output, e.Test))+")")
	case "fail":
		p.failed++
		pkg.failed++
		fmt.Fprintf(p.out, "\n--- FAILED %s (%.2f s)\n%s", name, e.Elapsed, indent(take(pkg.output, e.Test)))
	default:
		return // run, pause, cont
	}
	pkg.tests++
	delete(pkg.output, e.Test)
}

// packageEnded writes the package's line. A package that fails without a failed test, because it does not build, ended
// early or raced after its tests, counts as one failure and shows its own output.
func (p *report) packageEnded(pkg *result, e event) {
	word := map[string]string{"pass": "ok", "fail": "FAILED", "skip": "-"}[e.Action]
	fmt.Fprintf(p.out, "%-6s  %-40s %6.1f s  %4d tests\n", word, short(e.Package), e.Elapsed, pkg.tests)
	if e.Action != "fail" || pkg.failed > 0 {
		return
	}
	p.failed++
	fmt.Fprint(p.out, indent(take(p.builds, e.FailedBuild)), indent(take(pkg.output, "")))
	delete(pkg.output, "")
	for _, test := range slices.Sorted(maps.Keys(pkg.output)) {
		fmt.Fprintf(p.out, "    %s had not ended:\n%s", test, indent(take(pkg.output, test)))
	}
}

// totals writes the last lines, the first of which is known to tools that look for one.
func (p *report) totals() {
	fmt.Fprintf(p.out, "\n%d passed, %d failed, %d skipped\n", p.passed, p.failed, len(p.skipped))
	line := fmt.Sprintf("SKIPPED %d", len(p.skipped))
	if len(p.skipped) > 0 {
		line += ": " + strings.Join(p.skipped, ", ")
	}
	fmt.Fprintln(p.out, line)
}

// why returns the last thing that a skipped test said, without its place.
func why(output string) string {
	said := regexp.MustCompile(`(?m)^ +[\w.]+\.go:\d+: (.*)$`).FindAllStringSubmatch(output, -1)
	if len(said) == 0 {
		return "no reason given"
	}
	return said[len(said)-1][1]
}

// short is the package's path within the module, or the last part of the module's own.
func short(importPath string) string {
	if inside, ok := strings.CutPrefix(importPath, "github.com/cardbroker/cardbroker/"); ok {
		return inside
	}
	return path.Base(importPath)
}

func indent(text string) string {
	if text == "" {
		return ""
	}
	return "    " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n    ") + "\n"
}

func appendTo(texts map[string]*strings.Builder, key, text string) {
	if texts[key] == nil {
		texts[key] = new(strings.Builder)
	}
	texts[key].WriteString(text)
}

// take returns the text of key, "" if there is none.
func take(texts map[string]*strings.Builder, key string) string {
	if texts[key] == nil {
		return ""
	}
	return texts[key].String()
}
