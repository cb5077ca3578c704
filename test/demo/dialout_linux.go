// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
)

// dialsOut shows a host that lets no back end in: its broker calls the back end, which drives alice's card all the same.
func (st *story) dialsOut() error {
	st.scene("No way in: the broker calls the back end")
	rendezvous, err := st.Reserve() // the back end listens there later on
	if err != nil {
		return err
	}
	token := st.Path(tenant + ".token")
	config := fmt.Sprintf("backend: {connect: [{url: 'wss://%s', tenant: %s, ca: %s, token_file: %s}]}\n", rendezvous, tenant, st.Path("door.pem"), token)
	if err := os.WriteFile(st.Path("closed.yaml"), []byte(config), 0o600); err != nil {
		return err
	}
	st.broker.Kill()
	st.broker, st.host, err = st.Start(nil, "broker", "host", "run", "--config", st.Path("closed.yaml"), "--state", st.Path("state"),
		"--socket", st.socket, "--listen", st.host.Listen[0])
	if err != nil {
		return err
	}
	if _, err := st.sessionsWhen(func(s api.Session) bool { return s.State == cardbroker.Registered }); err != nil {
		return err
	}
	offered, err := st.offer()
	if err != nil {
		return err
	}
	out, err := st.Run(nil, "cardbroker", "reader", "apdu", "--expect", "9000", "-", selectPIV, "--ticket", offered.Ticket, "--json",
		"--listen", rendezvous, "--cert", st.Path("door.pem"), "--key", st.Path("door.key"), "--token-file", token)
	if err != nil {
		return err
	}
	st.check(out.Status == 0 && st.host.Backend == "", "without a door for back ends, the ticket works", "at "+offered.URL)
	return nil
}
