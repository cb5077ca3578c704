// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"net/http"

	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/httpserver"
)

// Routes are for the user's own programs.
func (c *Cache) Routes() []httpserver.Route {
	return []httpserver.Route{
		{Method: "GET", Path: "/cb/v1/cache", Access: httpserver.Own, Handle: c.status},
		{Method: "POST", Path: "/cb/v1/cache/clear", Access: httpserver.Own, Handle: c.clear},
	}
}

func (c *Cache) status(w http.ResponseWriter, _ *http.Request) error {
	s := c.Status()
	return httpserver.JSON(w, api.Cache{Certificates: string(s.Mode), Memory: s.Memory, Files: s.Files, Bytes: s.Bytes})
}

func (c *Cache) clear(w http.ResponseWriter, _ *http.Request) error {
	if err := c.DropAll(); err != nil {
		return err
	}
	return httpserver.JSON(w, struct{}{})
}
