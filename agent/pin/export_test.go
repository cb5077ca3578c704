// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pin

import "github.com/cardbroker/cardbroker"

// Take is what becomes of a text that was decrypted, or not.
func Take(s Shape, text []byte, ok bool) (cardbroker.Secret, error) { return s.take(text, ok) }
