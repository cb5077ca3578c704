// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package config

// presets are what is known of middleware on Windows. A name is that of the product, or the one that existing clients use for it.
func presets() []preset {
	return []preset{
		{names: []string{"opensc", "piv", "nitrokey", "aventra_myid_4"}, title: "OpenSC", pcsc: true,
			libraries: []string{`C:\Program Files\OpenSC Project\OpenSC\pkcs11\opensc-pkcs11.dll`}},
		{names: []string{"softhsm2"}, title: "SoftHSM 2", libraries: []string{`C:\SoftHSM2\lib\softhsm2-x64.dll`}},
		{names: []string{"safenet", "eherkenning"}, title: "SafeNet Authentication Client", pcsc: true, libraries: []string{`C:\Windows\System32\eTPKCS11.dll`}},
		{names: []string{"beid"}, title: "Belgian eID", pcsc: true, libraries: []string{`C:\Windows\System32\beidpkcs11.dll`}},
		{names: []string{"classicclient", "luxtrust"}, title: "Gemalto Classic Client", pcsc: true,
			libraries: []string{`C:\Program Files\Gemalto\Classic Client\BIN\gclib.dll`}},
		{names: []string{"idemia", "idemia_cosmo_82", "oberthur_73"}, title: "IDEMIA AWP", pcsc: true, libraries: []string{`C:\Windows\System32\OcsCryptoki.dll`}},
		{names: []string{"dnie"}, title: "DNIe", pcsc: true, libraries: []string{`C:\Windows\System32\DNIE_P11.dll`}},
		{names: []string{"yubikey"}, title: "YubiKey", pcsc: true, libraries: []string{`C:\Program Files\Yubico\Yubico PIV Tool\bin\libykcs11.dll`}},
		{names: []string{"bit4id"}, title: "Bit4id", pcsc: true, libraries: []string{`C:\Windows\System32\bit4xpki.dll`}},
	}
}
