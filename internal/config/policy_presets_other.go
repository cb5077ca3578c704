// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build !windows

package config

import "slices"

// presets are what is known of middleware on Linux. A name is that of the product, or the one that existing clients use for it.
func presets() []preset {
	return []preset{
		{names: []string{"opensc", "piv", "nitrokey", "aventra_myid_4"}, title: "OpenSC", pcsc: true, read: []string{"/etc/opensc"},
			libraries: inLibraries("opensc-pkcs11.so", "pkcs11/opensc-pkcs11.so")},
		{names: []string{"softhsm2"}, title: "SoftHSM 2", read: []string{"/etc/softhsm", "/etc/softhsm2.conf", "/etc/ssl/openssl.cnf"},
			write: []string{"/var/lib/softhsm/tokens"}, libraries: inLibraries("softhsm/libsofthsm2.so", "pkcs11/libsofthsm2.so", "libsofthsm2.so")},
		{names: []string{"safenet", "eherkenning"}, title: "SafeNet Authentication Client", pcsc: true, read: []string{"/etc/eToken.conf"},
			libraries: inLibraries("libeToken.so", "libeTPkcs11.so")},
		{names: []string{"beid"}, title: "Belgian eID", pcsc: true, libraries: inLibraries("libbeidpkcs11.so.0", "libbeidpkcs11.so")},
		{names: []string{"classicclient", "luxtrust"}, title: "Gemalto Classic Client", pcsc: true,
			libraries: inLibraries("pkcs11/libgclib.so", "ClassicClient/libgclib.so", "libgclib.so")},
		{names: []string{"idemia", "idemia_cosmo_82", "oberthur_73"}, title: "IDEMIA AWP", pcsc: true,
			libraries: []string{"/usr/local/AWP/lib/libOcsCryptoki.so"}},
		{names: []string{"dnie"}, title: "DNIe", pcsc: true, libraries: inLibraries("libpkcs11-dnie.so")},
		{names: []string{"yubikey"}, title: "YubiKey", pcsc: true, libraries: inLibraries("libykcs11.so.2", "libykcs11.so")},
		{names: []string{"bit4id"}, title: "Bit4id", pcsc: true, libraries: inLibraries("bit4id/libbit4xpki.so", "libbit4xpki.so")},
	}
}

// inLibraries returns where distributions, and makers of packages, put these files.
func inLibraries(files ...string) (paths []string) {
	for _, dir := range []string{"/usr/lib/x86_64-linux-gnu/", "/usr/lib/aarch64-linux-gnu/", "/usr/lib64/", "/usr/lib/", "/usr/local/lib/"} {
		for _, file := range files {
			paths = append(paths, dir+file)
		}
	}
	return slices.Clip(paths)
}
