// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Package bed is a host without a service: agents of many users that elect their registry, real processes in a network of
// their own, and an outsider who checks what they do. The outsider believes what the kernel says, what the registry answers
// to each user, and what writers have noted in files of their own. It works on Linux, as root.
package bed
