// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package atrlist_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/internal/atrlist"
)

// own is a list made for these tests.
const own = `# a comment

3B 0. 01 02
	two masks, the second byte
	https://example.com/two

3B 02 01 02
	exact
# a comment between
	exact, line 2

3B 0[1-3,7] 01 [0-2]2
	classes
	exact
3B 02 01 02
	exact again
3B 02 .* 02
	any bytes between

3B 02.*
	any end

3B (02|03) 01 02
	a choice

3b 0[^0-1] 01 02
	a negative class, in lower case
`

func TestFind(t *testing.T) {
	list := atrlist.Parse(own)
	if len(list.Skipped()) > 0 || list.Len() != 8 {
		t.Fatalf("%d patterns, skipped %v", list.Len(), list.Skipped())
	}
	for atr, want := range map[string][]string{
		"3B 02 01 02": {"exact", "exact, line 2", "exact again", "two masks, the second byte", "https://example.com/two", "classes",
			"any bytes between", "any end", "a choice", "a negative class, in lower case"},
		"3B 03 01 02":    {"two masks, the second byte", "https://example.com/two", "classes", "exact", "a choice", "a negative class, in lower case"},
		"3B 07 01 12":    {"classes", "exact"},
		"3B 05 01 22":    nil,
		"3B 02":          {"any end"},
		"3B 02 02":       {"any end"}, // between the two there is a byte at least
		"3B 02 FF FE 02": {"any bytes between", "any end"},
		"3B 00 01 02":    {"two masks, the second byte", "https://example.com/two"},
		"3B":             nil,
		"":               nil,
	} {
		if got := list.Find(bytesOf(t, atr)); !slices.Equal(got, want) {
			t.Errorf("Find(%s) = %q, want %q", atr, got, want)
		}
	}
}

// TestProblems names each malformed line, and takes the rest.
func TestProblems(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       []string
		taken      int
	}{
		{"nothing", "", nil, 0},
		{"no end of line", "3B 00\n\tgood", nil, 1},
		{"ends of lines of Windows", "3B 00\r\n\tgood\r\n\r\n3B 01\r\n\tgood\r\n", nil, 2},
		{"a stray description", "\tstray\n\n3B 00\n\tgood\n\n\tstray\n", []string{"line 1: a description without a pattern", "line 6: a description without a pattern"}, 1},
		{"no description", "3B 00\n3B 01\n\tgood\n\n3B 02\n", []string{"line 1: a pattern without a description", "line 5: a pattern without a description"}, 1},
		{"no hexadecimal", "3B 0G\n\tx\n\ty\n\n3B 01\n\tgood\n", []string{"line 1: character 5 is not of a pattern"}, 1},
		{"no spaces", "3B00\n\tx\n", []string{"line 1: a pattern is bytes of two digits with one space between them"}, 0},
		{"half a byte", "3B 0\n\tx\n", []string{"line 1: a pattern is bytes of two digits with one space between them"}, 0},
		{"two spaces", "3B  00\n\tx\n", []string{"line 1: a pattern is bytes of two digits with one space between them"}, 0},
		{"an open class", "3B [01\n\tx\n", []string{"line 1: it is no regular expression"}, 0},
		{"an empty class", "3B 0[,]\n\tx\n", []string{}, 1}, // it matches nothing
		{"a backward class", "3B 0[3-1]\n\tx\n", []string{"line 1: it is no regular expression"}, 0},
		{"a huge expression", "3B (((.{900}){900}){900})\n\tx\n", []string{"line 1: it is no regular expression"}, 0},
		{"too long", "3B" + strings.Repeat(" 00", 33) + "\n\tx\n", []string{"line 1: 34 bytes, an ATR has at most 33"}, 0},
		{"a long line", "3B 00\n\t" + strings.Repeat("x", 2000) + "\n\tgood\n", []string{"line 2: it has 2001 bytes, at most 2000 are taken"}, 1},
		{"a long pattern", "3B" + strings.Repeat(" 00", 700) + "\n\tx\n", []string{"line 1: it has 2102 bytes, at most 2000 are taken"}, 0},
		{"spaces for a tab", "3B 00\n\tgood\n  x\n", []string{"line 3: it begins with a space; descriptions begin with a tab"}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			list := atrlist.Parse(test.text)
			got := fmt.Sprint(list.Skipped())
			if got != fmt.Sprint(test.want) || list.Len() != test.taken {
				t.Errorf("Parse(%.40q): %d patterns, %s, want %d and %v", test.text, list.Len(), got, test.taken, test.want)
			}
		})
	}
}

// TestBounds: what would make look-ups slow, or fill the memory, is not taken.
func TestBounds(t *testing.T) {
	loose, masks := strings.Builder{}, strings.Builder{}
	for i := range 65 {
		fmt.Fprintf(&loose, "3B %02X.*\n\tx\n", i)
	}
	for i := range 300 {
		masks.WriteString("3B")
		for b := range 9 {
			masks.WriteString(map[bool]string{true: " 00", false: " .."}[i>>b&1 == 0])
		}
		masks.WriteString("\n\tx\n")
	}
	for name, test := range map[string]struct {
		text string
		want string
	}{
		"expressions": {loose.String(), "line 129: too many patterns that are neither bytes nor simple masks"},
		"patterns":    {strings.Repeat("3B 00\n\tx\n", 50_001), "line 100001: more than 50000 patterns"},
	} {
		if got := atrlist.Parse(test.text).Skipped(); len(got) != 1 || got[0].String() != test.want {
			t.Errorf("%s: %v, want %s", name, got, test.want)
		}
	}
	if got := atrlist.Parse(masks.String()); got.Len() > 256+64 {
		t.Errorf("masks: %d taken, %v", got.Len(), got.Skipped())
	}
	long := "3B 00\n" + strings.Repeat("\t"+strings.Repeat("x", 1999)+"\n", 9)
	for i := range 9 { // each of them another
		long = strings.Replace(long, "\tx", fmt.Sprintf("\t%d", i), 1)
	}
	if got := atrlist.Parse(long).Find([]byte{0x3B, 0}); len(got) != 4 {
		t.Errorf("Find = %d long descriptions, want the 4 that fit in 8 KiB", len(got))
	}
	many := strings.Builder{}
	many.WriteString("3B 00\n")
	for i := range 40 {
		fmt.Fprintf(&many, "\tdescription %d\n", i)
	}
	if got := atrlist.Parse(many.String()).Find([]byte{0x3B, 0}); len(got) != 32 {
		t.Errorf("Find = %d descriptions, want 32", len(got))
	}
}

// write makes a file of its own.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "list.txt")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestLoad takes the first file that is there, and none of what is no list.
func TestLoad(t *testing.T) {
	first, second := write(t, "3B 00\n\tfirst\n"), write(t, "3B 00\n\tsecond\n")
	missing := filepath.Join(t.TempDir(), "missing")
	for _, test := range []struct {
		name  string
		paths []string
		want  []string
	}{
		{"first", []string{first, second}, []string{"first"}},
		{"second", []string{missing, second}, []string{"second"}},
		{"none", []string{missing}, nil},
		{"nothing", nil, nil},
	} {
		list, err := atrlist.Load(test.paths...)
		if err != nil {
			t.Fatal(err)
		}
		if got := list.Find([]byte{0x3B, 0}); !slices.Equal(got, test.want) || (list.Path() == "") != (test.want == nil) {
			t.Errorf("%s: Find = %q of %q, want %q", test.name, got, list.Path(), test.want)
		}
	}
	large := write(t, strings.Repeat("#", 8<<20+1))
	for name, path := range map[string]string{"a directory": t.TempDir(), "too large": large} {
		if _, err := atrlist.Load(path, second); cardbroker.ReasonOf(err) != cardbroker.Invalid {
			t.Errorf("Load of %s = %v, want invalid", name, err)
		}
	}
}

func TestCheck(t *testing.T) {
	for text, want := range map[string]string{
		own:                       "",
		"3B 00\n\tx\n\n3B\n\ty\n": "",
		"3B 00\n\tx\n\n3\n\ty\n":  "line 4: a pattern is bytes of two digits with one space between them",
		"3B 00\n\n\tx\n":          "line 1: a pattern without a description; and 1 more malformed lines",
	} {
		path := write(t, text)
		n, err := atrlist.Check(path)
		if want == "" && (err != nil || n == 0) || want != "" && (cardbroker.ReasonOf(err) != cardbroker.Invalid || !strings.Contains(err.Error(), path+": "+want)) {
			t.Errorf("Check(%.30q) = %v, want %q", text, err, want)
		}
	}
	if _, err := atrlist.Check(filepath.Join(t.TempDir(), "missing")); cardbroker.ReasonOf(err) != cardbroker.Invalid {
		t.Errorf("Check of a missing file = %v, want invalid", err)
	}
}

// FuzzParse checks that no text panics, and that each pattern that is taken matches what it matches as a regular
// expression of a whole ATR.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"3B 0.", "3B 0[1-3,7] 01 [0-2]2", "3B .* 02", "3B 02.*", "3B (02|03)", "3b 0[^0]", "\t", "3B 00\n\tx\n#\n\ty", "3B [,]0", "3B 0[1-]"} {
		f.Add(seed, []byte{0x3B, 0x02, 0x01, 0x02})
	}
	f.Fuzz(func(t *testing.T, pattern string, atr []byte) {
		atrlist.Parse(pattern)
		if strings.ContainsAny(pattern, "\r\n\t#") || len(atr) > 33 {
			return
		}
		list := atrlist.Parse(pattern + "\n\tx\n")
		found := len(list.Find(atr)) > 0
		if list.Len() == 0 {
			if found || len(list.Skipped()) == 0 && strings.TrimSpace(pattern) != "" {
				t.Errorf("pattern %q was neither taken nor reported: %v", pattern, list.Skipped())
			}
			return
		}
		whole := regexp.MustCompile("^(?:" + strings.ToUpper(strings.TrimRight(pattern, " ")) + ")$")
		if want := whole.MatchString(strings.ToUpper(fmt.Sprintf("% x", atr))); found != want {
			t.Errorf("pattern %q and %X: found %v, want %v", pattern, atr, found, want)
		}
	})
}
