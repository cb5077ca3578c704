// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"encoding/json"

	"github.com/cardbroker/cardbroker"
)

// WriteJSON is [Conn.Write] of v as JSON.
func (c *Conn) WriteJSON(v any) error {
	message, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return c.Write(message)
}

// NextJSON is [Conn.Next] into v. A message that is not JSON of v's form is Invalid.
func (c *Conn) NextJSON(v any) error {
	message, err := c.Next()
	if err != nil {
		return err
	}
	if err := json.Unmarshal(message, v); err != nil {
		return cardbroker.Wrapf(err, cardbroker.Invalid, "a message is not the JSON that is wanted")
	}
	return nil
}
