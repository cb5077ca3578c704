// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package api is the JSON that crosses HTTP: its types, the one table from reasons to statuses and codes, and the
// OpenAPI document. It serves nothing and asks nothing.
package api

import _ "embed" // openapi.yaml

// OpenAPI is the document of the REST API, as broker and agent serve it at /openapi.yaml.
//
//go:embed openapi.yaml
var OpenAPI []byte
