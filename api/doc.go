// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package api is the JSON that crosses HTTP: its types, the one table from reasons to statuses and codes, and the
// OpenAPI document. It serves nothing and asks nothing.
package api

import _ "embed" // openapi.yaml, docs.html

// OpenAPI is the document of the REST API, as broker and agent serve it at /openapi.yaml.
//
//go:embed openapi.yaml
var OpenAPI []byte

// DocsPage is the same for people, as broker and agent serve it at /docs.
//
//go:embed docs.html
var DocsPage []byte

// DocsPolicy is the page's Content-Security-Policy: its own style, and nothing else from anywhere.
const DocsPolicy = "default-src 'none'; style-src 'sha256-ddJu7uBgLF4zDUJKE9tVMuxCACNTkhWt8HEQPOFzU8k='; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
