// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package config

import "time"

// Issuer is how the broker issues tokens for API keys; what the bounds are is said by who does it.
type Issuer struct {
	Life   string `yaml:"life"`   // of a token; 5m
	Rotate string `yaml:"rotate"` // how long one key signs; 720h
}

// Durations returns both; zero where nothing is said.
func (i Issuer) Durations() (life, rotate time.Duration) {
	life, _ = time.ParseDuration(i.Life) // the configuration was checked
	rotate, _ = time.ParseDuration(i.Rotate)
	return life, rotate
}

func checkIssuer(path string, i Issuer) error {
	for _, d := range []struct{ key, text string }{{"life", i.Life}, {"rotate", i.Rotate}} {
		if _, err := time.ParseDuration(d.text); d.text != "" && err != nil {
			return unfit(path, "issuer.%s: %q is not a duration such as 5m", d.key, d.text)
		}
	}
	return nil
}
