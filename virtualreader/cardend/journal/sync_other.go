// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package journal

import "os"

func dataSync(file *os.File) error { return file.Sync() }

func syncFolder(string) error { return nil } // Windows writes names with the file

func local(string) bool { return true } // %LocalAppData% is
