// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package apidoc

import (
	"html/template"
	"regexp"
	"strings"
)

// sections cuts a text in Markdown at its headings of the second degree. What is before the first has no title.
func sections(text string) []section {
	var all []section
	for i, part := range strings.Split("\n"+text, "\n## ") {
		title := ""
		if i > 0 {
			title, part, _ = strings.Cut(part, "\n")
		}
		id := strings.ReplaceAll(strings.ToLower(title), " ", "-")
		all = append(all, section{ID: id, Title: title, Text: paragraphs(part)})
	}
	return all
}

// paragraphs turns Markdown into HTML, as far as the document uses it: paragraphs, lists, bold and code.
func paragraphs(text string) template.HTML {
	var out strings.Builder
	for _, block := range regexp.MustCompile(`\n\s*\n`).Split(strings.TrimSpace(text), -1) {
		switch items := strings.Split("\n"+block, "\n- "); {
		case block == "":
		case len(items) > 1:
			out.WriteString("<ul>")
			for _, item := range items[1:] {
				out.WriteString("<li>" + string(inline(item)))
			}
			out.WriteString("</ul>")
		default:
			out.WriteString("<p>" + string(inline(block)) + "</p>")
		}
	}
	return template.HTML(out.String())
}

// inline turns the bold and code of a line into HTML.
func inline(text string) template.HTML {
	text = template.HTMLEscapeString(strings.Join(strings.Fields(text), " "))
	text = regexp.MustCompile("`([^`]+)`").ReplaceAllString(text, "<code>$1</code>")
	return template.HTML(regexp.MustCompile(`\*\*([^*]+)\*\*`).ReplaceAllString(text, "<b>$1</b>"))
}
