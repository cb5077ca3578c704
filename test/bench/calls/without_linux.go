// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !cgo

package calls

import (
	"errors"
	"io"
)

// Run needs cgo.
func Run(_, _ string, _ io.Reader, _ io.Writer) error {
	return errors.New("built without cgo, and so without PC/SC")
}
