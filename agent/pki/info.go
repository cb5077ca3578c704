// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cardbroker/cardbroker"
	"github.com/cardbroker/cardbroker/api"
	"github.com/cardbroker/cardbroker/internal/httpserver"
	"github.com/cardbroker/cardbroker/internal/run"
	"github.com/cardbroker/cardbroker/internal/token"
)

// startLimit is how long a list of modules waits for those that start: one that hangs keeps nobody from hearing of the others, nor the doctor
// from naming it. It starts on.
const startLimit = 4 * time.Second

// listModules lists the modules of machine policy. It starts none of them, but for ?library=true.
func (p *PKI) listModules(w http.ResponseWriter, r *http.Request) error {
	all, _, err := httpserver.QueryBool(r.URL.Query(), "library")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), startLimit)
	defer cancel()
	starting := run.New(ctx)
	modules := p.cfg.Modules()
	rows := make([]api.Module, len(modules))
	for i, m := range modules {
		rows[i] = api.Module{Name: m.Name, Title: m.Title, PCSC: m.PCSC, State: "idle"}
		if p.process(m.Name).Runs || all {
			starting.Go("module", func(ctx context.Context) error {
				p.introduce(ctx, &rows[i], !httpserver.FromPage(r))
				return nil
			})
		}
	}
	starting.Wait() // its error is that of the limit
	return httpserver.JSON(w, api.Modules{Modules: rows})
}

// process returns how that of a module fares.
func (p *PKI) process(module string) Process {
	if p.cfg.Process == nil {
		return Process{}
	}
	return p.cfg.Process(module)
}

// muteLimit is how long a module may owe an answer before it is said to hang: cards take seconds to sign.
const muteLimit = 10 * time.Second

// introduce has a module say what it is, or says why it does not, with the cause if the asker may know: it may name files, and what the
// module has said.
func (p *PKI) introduce(ctx context.Context, row *api.Module, cause bool) {
	library, err := p.cfg.Tokens.Library(ctx, row.Name)
	switch cardbroker.ReasonOf(err) {
	case "":
		row.State, row.Library = "running", &api.ModuleLibrary{
			CryptokiVersion: library.Cryptoki, ManufacturerID: library.Manufacturer,
			Description: library.Description, Version: library.Version,
		}
		if mute := p.process(row.Name).Mute; mute > muteLimit {
			row.Error = fmt.Sprintf("it hangs: it has not answered what it was asked %v ago", mute.Round(time.Second))
		}
	case cardbroker.Timeout:
		row.Error = fmt.Sprintf("it hangs, or starts slowly: %v have passed", startLimit)
	default:
		row.Error = api.Describe(err).Description
		if cause && cardbroker.ReasonOf(err) == cardbroker.Unavailable {
			row.Cause = p.process(row.Name).Ended
		}
	}
}

// atrs lists for which cards machine policy has modules.
func (p *PKI) atrs(w http.ResponseWriter, _ *http.Request) error {
	rows := []api.KnownATR{}
	for _, m := range p.cfg.Modules() {
		for _, atr := range m.ATRs {
			rows = append(rows, api.KnownATR{ATR: strings.ToUpper(atr), Module: m.Name, ModuleDescription: m.Title})
		}
	}
	return httpserver.Data(w, rows)
}

// info answers with what a token says of itself.
func (p *PKI) info(w http.ResponseWriter, r *http.Request) error {
	in, info, err := p.token(r)
	if err != nil {
		return err
	}
	return httpserver.Data(w, api.TokenInfo{Info: info, InfoType: api.TokenInfoPKCS11, Module: api.TokenModule{Name: in.module.Name}})
}

// slotToken is info without the names of existing clients around it.
func (p *PKI) slotToken(w http.ResponseWriter, r *http.Request) error {
	_, info, err := p.token(r)
	if err != nil {
		return err
	}
	return httpserver.JSON(w, info)
}

func (p *PKI) token(r *http.Request) (place, api.TokenData, error) {
	in, err := p.place(r)
	if err != nil {
		return in, api.TokenData{}, err
	}
	said, err := p.ask(r.Context(), in, token.Question{Call: token.CallToken})
	if err != nil {
		return in, api.TokenData{}, err
	}
	return in, newToken(in.slot, said.Token), nil
}

func newToken(slot token.Slot, t *token.Token) api.TokenData {
	info := api.TokenData{
		Slot: strconv.FormatUint(uint64(slot.ID), 10), Label: t.Label, ManufacturerID: t.Manufacturer, Model: t.Model, SerialNumber: t.Serial,
		Flags: newFlags(t.Flags), Mechanisms: []api.Mechanism{},
		MaxSessionCount: t.MaxSessions, SessionCount: t.Sessions, MaxRWSessionCount: t.MaxRWSessions,
		MaxPINLength: t.MaxPIN, MinPINLength: t.MinPIN,
		TotalPublicMemory: t.TotalPublicMemory, FreePublicMemory: t.FreePublicMemory,
		TotalPrivateMemory: t.TotalPrivateMemory, FreePrivateMemory: t.FreePrivateMemory,
		HardwareVersion: t.Hardware, FirmwareVersion: t.Firmware,
	}
	for _, m := range t.Mechanisms {
		name := m.Name
		if name == "" {
			name = fmt.Sprintf("0x%08X", m.Type)
		}
		info.Mechanisms = append(info.Mechanisms, api.Mechanism{Mechanism: name, Flags: newMechanismFlags(m.Flags), MinKeySize: m.MinKey, MaxKeySize: m.MaxKey})
	}
	return info
}

// newFlags reads CK_TOKEN_INFO's flags, PKCS#11 v2.40 §3.2.
func newFlags(f uint) api.TokenFlags {
	return api.TokenFlags{
		RandomNumberGenerator:       f&0x00000001 != 0,
		WriteProtected:              f&0x00000002 != 0,
		LoginRequired:               f&token.FlagLoginRequired != 0,
		UserPINInitialized:          f&0x00000008 != 0,
		RestoreKeyNotNeeded:         f&0x00000020 != 0,
		ClockOnToken:                f&0x00000040 != 0,
		ProtectedAuthenticationPath: f&token.FlagProtectedPath != 0,
		DualCryptoOperations:        f&0x00000200 != 0,
		TokenInitialized:            f&token.FlagInitialized != 0,
		SecondaryAuthentication:     f&0x00000800 != 0,
		UserPINCountLow:             f&token.FlagUserPINLow != 0,
		UserPINFinalTry:             f&token.FlagUserPINFinal != 0,
		UserPINLocked:               f&token.FlagUserPINLocked != 0,
		UserPINToBeChanged:          f&token.FlagUserPINToChange != 0,
		SOPINCountLow:               f&token.FlagSOPINLow != 0,
		SOPINFinalTry:               f&token.FlagSOPINFinal != 0,
		SOPINLocked:                 f&token.FlagSOPINLocked != 0,
		SOPINToBeChanged:            f&0x00800000 != 0,
	}
}

// newMechanismFlags reads CK_MECHANISM_INFO's flags, PKCS#11 v2.40 §3.5.
func newMechanismFlags(f uint) api.MechanismFlags {
	return api.MechanismFlags{
		Hardware:        f&0x00000001 != 0,
		Encrypt:         f&0x00000100 != 0,
		Decrypt:         f&0x00000200 != 0,
		Digest:          f&0x00000400 != 0,
		Sign:            f&0x00000800 != 0,
		SignRecover:     f&0x00001000 != 0,
		Verify:          f&0x00002000 != 0,
		VerifyRecover:   f&0x00004000 != 0,
		Generate:        f&0x00008000 != 0,
		GenerateKeyPair: f&0x00010000 != 0,
		Wrap:            f&0x00020000 != 0,
		Unwrap:          f&0x00040000 != 0,
		ECFp:            f&0x00100000 != 0,
		ECNamedCurve:    f&0x00800000 != 0,
		ECUncompress:    f&0x01000000 != 0,
		ECCompress:      f&0x02000000 != 0,
		Extension:       f&0x80000000 != 0,
	}
}
