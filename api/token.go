// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"time"

	"github.com/cardbroker/cardbroker"
)

// Modules answers GET /cb/v1/modules.
type Modules struct {
	Modules []Module `json:"modules"`
}

// Module is a PKCS#11 module that machine policy names.
type Module struct {
	Name    string         `json:"name"`
	Title   string         `json:"title"`
	PCSC    bool           `json:"pcsc"`              // its tokens are cards in PC/SC readers
	State   string         `json:"state"`             // running, or idle: its process starts when it is needed
	Library *ModuleLibrary `json:"library,omitempty"` // of a module that runs, or of each with ?library=true
	Error   string         `json:"error,omitempty"`   // why it is not there, though it was asked for; or that it hangs
	Cause   string         `json:"cause,omitempty"`   // how its process ended, for programs of the user's; no page is told
}

// ModuleLibrary is CK_INFO, PKCS#11 v2.40 §3.1.
type ModuleLibrary struct {
	CryptokiVersion string `json:"cryptokiVersion"`
	ManufacturerID  string `json:"manufacturerId"`
	Description     string `json:"libraryDescription"`
	Version         string `json:"libraryVersion"`
}

// Slots answers GET /cb/v1/modules/{module}/slots.
type Slots struct {
	Slots []Slot `json:"slots"`
}

// Slot is CK_SLOT_INFO, PKCS#11 v2.40 §3.2. Its id stands where a reader's may.
type Slot struct {
	ID              cardbroker.ReaderID `json:"id"`
	Reader          cardbroker.ReaderID `json:"reader,omitempty"` // the PC/SC reader that it is in; empty: none
	Description     string              `json:"description"`
	ManufacturerID  string              `json:"manufacturerId"`
	HardwareVersion string              `json:"hardwareVersion"`
	FirmwareVersion string              `json:"firmwareVersion"`
	Token           *SlotToken          `json:"token,omitempty"` // nil: there is none
}

// SlotToken says in short which token is in a slot.
type SlotToken struct {
	Label          string `json:"label"`
	ManufacturerID string `json:"manufacturerId"`
	Model          string `json:"model"`
	SerialNumber   string `json:"serialNumber"`
}

// TokenInfoPKCS11 is the infoType of a [TokenInfo]; existing clients number types of tokens.
const TokenInfoPKCS11 = 1

// TokenInfo answers GET /v3/modules/{module}/apps/token/readers/{id}/info.
type TokenInfo struct {
	Info     TokenData   `json:"info"`
	InfoType int         `json:"infoType"`
	Module   TokenModule `json:"module"`
}

// TokenModule says which module has a token.
type TokenModule struct {
	Name            string `json:"name"`
	IsHashedByToken bool   `json:"isHashedByToken"` // always false: what is signed is a hash
}

// TokenData is CK_TOKEN_INFO, PKCS#11 v2.40 §3.2, by the names that existing clients know. A number that the token does not tell is -1.
type TokenData struct {
	Slot               string      `json:"slot"` // CK_SLOT_ID, decimal
	Label              string      `json:"label"`
	ManufacturerID     string      `json:"manufacturerId"`
	Model              string      `json:"model"`
	SerialNumber       string      `json:"serialNumber"`
	Flags              TokenFlags  `json:"flags"`
	Mechanisms         []Mechanism `json:"mechanisms"`
	MaxSessionCount    int64       `json:"ulMaxSessionCount"`
	SessionCount       int64       `json:"ulSessionCount"`
	MaxRWSessionCount  int64       `json:"ulMaxRwSessionCount"`
	MaxPINLength       int         `json:"ulMaxPinLen"`
	MinPINLength       int         `json:"ulMinPinLen"`
	TotalPublicMemory  int64       `json:"ulTotalPubLicMemory"` // the spelling of existing clients
	FreePublicMemory   int64       `json:"ulFreePubMemory"`
	TotalPrivateMemory int64       `json:"ulTotalPrivateMemory"`
	FreePrivateMemory  int64       `json:"ulFreePrivateMemory"`
	HardwareVersion    string      `json:"hardwareVersion"`
	FirmwareVersion    string      `json:"firmwareVersion"`
}

// TokenFlags are the flags of CK_TOKEN_INFO, CKF_….
type TokenFlags struct {
	RandomNumberGenerator       bool `json:"isRandomNumberGenerator"`
	WriteProtected              bool `json:"isWriteProtected"`
	LoginRequired               bool `json:"isLoginRequired"`
	UserPINInitialized          bool `json:"isUserPinInitialized"`
	RestoreKeyNotNeeded         bool `json:"isRestoreKeyNotNeeded"`
	ClockOnToken                bool `json:"isClockOnToken"`
	ProtectedAuthenticationPath bool `json:"isProtectedAuthenticationPath"`
	DualCryptoOperations        bool `json:"isDualCryptoOperations"`
	TokenInitialized            bool `json:"isTokenInitialized"`
	SecondaryAuthentication     bool `json:"isSecondaryAuthentication"`
	UserPINCountLow             bool `json:"isUserPinCountLow"`
	UserPINFinalTry             bool `json:"isUserPinFinalTry"`
	UserPINLocked               bool `json:"isUserPinLocked"`
	UserPINToBeChanged          bool `json:"isUserPinToBeChanged"`
	SOPINCountLow               bool `json:"isSoPinCountLow"`
	SOPINFinalTry               bool `json:"isSoPinFinalTry"`
	SOPINLocked                 bool `json:"isSoPinLocked"`
	SOPINToBeChanged            bool `json:"isSoPinToBeChanged"`
}

// Mechanism is CK_MECHANISM_INFO, PKCS#11 v2.40 §3.5. The unit of the sizes is the mechanism's own, mostly bits.
type Mechanism struct {
	Mechanism  string         `json:"mechanism"` // CKM_…, or 0x… of one without a name
	Flags      MechanismFlags `json:"flags"`
	MinKeySize uint           `json:"ulMinKeySize"`
	MaxKeySize uint           `json:"ulMaxKeySize"`
}

// TokenCertificate is a certificate of a token, as existing clients know it, and from NotBefore on what is ours.
type TokenCertificate struct {
	Certificate   string    `json:"certificate"`     // base64 of DER
	Type          string    `json:"certificateType"` // authentication, nonRepudiation, encryption, issuer, intermediate or root
	ID            string    `json:"id"`              // CKA_ID in hexadecimal: names the key to sign with
	Subject       string    `json:"subject"`         // RFC 4514
	Issuer        string    `json:"issuer"`
	SerialNumber  string    `json:"serialNumber"`  // upper-case hexadecimal
	URL           string    `json:"url"`           // always empty: nothing is stored elsewhere
	HashSubPubKey string    `json:"hashSubPubKey"` // SHA-256 of the SubjectPublicKeyInfo, hexadecimal
	HashIssPubKey string    `json:"hashIssPubKey"` // the same of the issuer's; empty: it is not on the token
	Exponent      string    `json:"exponent"`      // of an RSA key, hexadecimal; else empty
	Remainder     string    `json:"remainder"`     // its modulus
	NotBefore     time.Time `json:"notBefore"`
	NotAfter      time.Time `json:"notAfter"`
	ExpiresInDays int       `json:"expiresInDays"` // whole days; negative: since so many
	Warning       string    `json:"warning"`       // expired, expires_soon, not_yet_valid or empty
}

// TokenCertificates are those of one type. Without certificates existing clients say that none was found.
type TokenCertificates struct {
	Certificates []TokenCertificate `json:"certificates,omitempty"`
}

// AllCertificates answers …/cert-list: types that the token does not have are left out.
type AllCertificates struct {
	Authentication *TokenCertificates `json:"authenticationCertificate,omitempty"`
	Intermediate   *TokenCertificates `json:"intermediateCertificates,omitempty"`
	NonRepudiation *TokenCertificates `json:"nonRepudiationCertificate,omitempty"`
	Root           *TokenCertificates `json:"rootCertificate,omitempty"`
	Encryption     *TokenCertificates `json:"encryptionCertificate,omitempty"`
	Issuer         *TokenCertificates `json:"issuerCertificate,omitempty"`
}

// TokenSignature answers …/sign and …/authenticate.
type TokenSignature struct {
	Data string `json:"data"` // base64; of ECDSA r and s, one after the other
}

// SignatureValid answers …/validate.
type SignatureValid struct {
	Valid bool `json:"valid"`
}

// Algorithms answers …/supported-algorithms.
type Algorithms struct {
	Ref []string `json:"ref"`
}

// KnownATR is a row of GET /atrs.
type KnownATR struct {
	ATR               string `json:"atr"` // upper-case hexadecimal; X: any digit, * at the end: anything
	Module            string `json:"module"`
	ModuleDescription string `json:"moduleDescription"`
}

// SignRequest is the body of …/sign, …/sign_raw and …/authenticate, as its asker writes it.
type SignRequest struct {
	Algorithm     string `json:"algorithm"`
	Data          string `json:"data"`               // base64: the hash, or the data itself if Hashed is false
	Hashed        *bool  `json:"hashed,omitempty"`   // nil: true
	ID            string `json:"id,omitempty"`       // of the certificate; empty: the default one
	PIN           string `json:"pin,omitempty"`      // encrypted to the device key; empty: the user is asked, or has been
	OSDialog      bool   `json:"osDialog,omitempty"` // the user is asked, whatever PIN says
	Timeout       int    `json:"timeout,omitempty"`  // seconds, 1 to 60
	Base64Encoded *bool  `json:"base64Encoded,omitempty"`
	Pace          string `json:"pace,omitempty"` // not served
	TxID          string `json:"txId,omitempty"` // without a meaning
	Language      string `json:"language,omitempty"`
}

// ValidateSignature is the body of …/validate.
type ValidateSignature struct {
	Algorithm  string `json:"algorithm"`
	Hash       string `json:"hash"` // base64: the hash, or the data itself if Hashed is false
	Hashed     *bool  `json:"hashed,omitempty"`
	SignedHash string `json:"signedHash"`   // base64
	ID         string `json:"id,omitempty"` // of the certificate; empty: the default one of …/sign
	PIN        string `json:"pin,omitempty"`
	OSDialog   bool   `json:"osDialog,omitempty"`
	Timeout    int    `json:"timeout,omitempty"`
	TxID       string `json:"txId,omitempty"`
	Language   string `json:"language,omitempty"`
}

// TokenPIN is the body of …/verify-pin.
type TokenPIN struct {
	PIN           string `json:"pin,omitempty"`
	OSDialog      bool   `json:"osDialog,omitempty"`
	Timeout       int    `json:"timeout,omitempty"`
	Base64Encoded *bool  `json:"base64Encoded,omitempty"`
	Pace          string `json:"pace,omitempty"`
}

// ResetTokenPIN is the body of …/reset-pin: PUK and PIN, or neither, so that the user is asked for both.
type ResetTokenPIN struct {
	PUK           string `json:"puk,omitempty"`
	PIN           string `json:"pin,omitempty"`       // the new one
	ResetOnly     bool   `json:"resetOnly,omitempty"` // without a new PIN: not served
	OSDialog      bool   `json:"osDialog,omitempty"`
	Reference     string `json:"reference,omitempty"` // issign, isauthenticate or isencrypt: a token has one PIN here
	Timeout       int    `json:"timeout,omitempty"`
	Base64Encoded *bool  `json:"base64Encoded,omitempty"`
}

// ChangeTokenPIN is the body of …/change-pin: both, or neither, so that the user is asked for both.
type ChangeTokenPIN struct {
	PIN           string `json:"pin,omitempty"`
	NewPIN        string `json:"newPin,omitempty"`
	OSDialog      bool   `json:"osDialog,omitempty"`
	Timeout       int    `json:"timeout,omitempty"`
	Base64Encoded *bool  `json:"base64Encoded,omitempty"`
}

// MechanismFlags are the flags of CK_MECHANISM_INFO, CKF_….
type MechanismFlags struct {
	Hardware        bool `json:"isHardware"`
	Encrypt         bool `json:"isEncrypt"`
	Decrypt         bool `json:"isDecrypt"`
	Digest          bool `json:"isDigest"`
	Sign            bool `json:"isSign"`
	SignRecover     bool `json:"isSignRecover"`
	Verify          bool `json:"isVerify"`
	VerifyRecover   bool `json:"isVerifyRecover"`
	Generate        bool `json:"isGenerate"`
	GenerateKeyPair bool `json:"isGenerateKeyPair"`
	Wrap            bool `json:"isWrap"`
	Unwrap          bool `json:"isUnwrap"`
	Extension       bool `json:"isExtension"`
	ECFp            bool `json:"isEcFP"`
	ECNamedCurve    bool `json:"isEcNamedcurve"`
	ECUncompress    bool `json:"isEcUncompress"`
	ECCompress      bool `json:"isEcCompress"`
}
