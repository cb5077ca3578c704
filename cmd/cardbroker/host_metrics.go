// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"log/slog"

	"github.com/cardbroker/cardbroker/broker"
	"github.com/cardbroker/cardbroker/internal/config"
	"github.com/cardbroker/cardbroker/internal/httpserver"
)

// openPorts listens for web pages and for those who read the metrics.
func openPorts(ctx context.Context, cfg config.Host, log *slog.Logger) (broker.Browsers, broker.Scrapers, error) {
	scrapers, err := openScrapers(ctx, cfg.Metrics)
	if err != nil {
		return broker.Browsers{}, scrapers, err
	}
	browsers, err := openBrowsers(ctx, cfg, log)
	if err != nil {
		closeAll(scrapers.Listen)
	}
	return browsers, scrapers, err
}

func closePorts(browsers broker.Browsers, scrapers broker.Scrapers) {
	closeFixed(browsers)
	closeAll(scrapers.Listen)
}

// openScrapers listens for those who read the metrics over TCP.
func openScrapers(ctx context.Context, cfg config.Metrics) (broker.Scrapers, error) {
	var s broker.Scrapers
	if cfg.Listen == "" {
		return s, nil
	}
	for _, name := range cfg.Users {
		account, err := accountOf("metrics.users", name)
		if err != nil {
			return s, err
		}
		s.Users = append(s.Users, account)
	}
	var err error
	s.Listen, err = httpserver.ListenLoopback(ctx, cfg.Port())
	return s, err
}
