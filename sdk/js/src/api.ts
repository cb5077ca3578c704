// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// Made from api/openapi.yaml by `go test ./test/sdk -update`: the types of the REST API.

export type APDU = {
  cla: string;
  /** Up to 65,535 bytes; over 255 the command has the extended form. */
  data?: string;
  ins: string;
  /** One byte, 00 for 256; or two, 0000 for 65,536, in the extended form. Empty or missing, there is none. */
  le?: string;
  p1: string;
  p2: string;
};

/** Hexadecimal, ISO/IEC 7816-3 §8.2; empty if the card does not answer. */
export type ATR = string;

export type Algorithms = {
  ref: Array<string>;
};

export type AlgorithmsAnswer = {
  data: Algorithms;
  success: true;
};

export type AllCertificates = {
  authenticationCertificate?: TokenCertificates;
  encryptionCertificate?: TokenCertificates;
  intermediateCertificates?: TokenCertificates;
  issuerCertificate?: TokenCertificates;
  nonRepudiationCertificate?: TokenCertificates;
  rootCertificate?: TokenCertificates;
};

export type AllCertificatesAnswer = {
  data: AllCertificates;
  success: true;
};

export type Cache = {
  /** That the files take. */
  bytes: number;
  /** Where they are kept, as machine policy says; `memory` also where the host has no name of its own. */
  certificates: "off" | "memory" | "disk";
  /** Lists on disk. */
  files: number;
  /** Lists in memory, of cards that are or were in a reader. */
  memory: number;
};

export type Card = {
  atr: ATR;
  /** Empty where none is negotiated. */
  protocol: "T0" | "T1" | "";
};

export type CardReader = {
  card?: CardReaderCard;
  id: ReaderID;
  name: string;
  pinpad: boolean;
};

export type CardReaderAnswer = {
  data: CardReader;
  success: true;
};

export type CardReaderCard = {
  atr: ATR;
  /** What the card probably is, the more certain first; empty if that is not known. */
  description: Array<string>;
  /** Token modules that fit. */
  modules: Array<string>;
};

export type CardReadersAnswer = {
  data: Array<CardReader>;
  success: true;
};

export type ChangeTokenPIN = {
  base64Encoded?: boolean;
  newPin?: string;
  osDialog?: boolean;
  pin?: string;
  timeout?: number;
};

export type Consent = {
  by: "user" | "policy";
  /** Of the agent that asked the user; empty if it had no device key yet. */
  deviceKeyThumbprint: string;
  expires: string;
  granted: string;
  origin: Origin;
  session: SessionID;
};

export type ConsentAnswer = {
  answer: "approve" | "deny";
  /** 0 for as long as policy allows. */
  days?: number;
  origin: Origin;
};

export type ConsentRequest = {
  codeWord: string;
  /** What the page was given before. */
  consents?: Array<string>;
  durationInDays?: number;
};

export type ConsentRevoke = {
  origin: Origin;
};

export type ConsentState = {
  /** Base64 of JSON in ASCII, with the agent's port in `agent.apiPort`; empty unless the state is APPROVED. Beyond the contract: `origin`, `granted`, `expires`, `by`, `deviceKeyThumbprint`. `signedHash` is a MAC for the agent's own use. */
  consent: string;
  consentState: "APPROVED" | "REQUIRED";
  /** What the page is to keep instead of what it has; those of other hosts are among them. */
  consents: Array<string>;
};

export type ConsentStateAnswer = {
  data: ConsentState;
  success: true;
};

export type ConsentWaiting = {
  days: number;
  deadline: string;
  origin: Origin;
};

export type Consents = {
  consents: Array<Consent>;
  /** The address of the agent's own page; left out for a web page. */
  page?: string;
  /** Who asks; the user is shown the first. Empty for a web page. */
  waiting: Array<ConsentWaiting>;
};

/** RFC 7517. EC has crv, x and y, RSA has n and e. */
export type DeviceJWK = {
  alg: "ECDH-ES" | "RSA-OAEP-256";
  crv?: string;
  e?: string;
  kid: Thumbprint;
  kty: "EC" | "RSA";
  n?: string;
  use: "enc";
  x?: string;
  y?: string;
};

export type DeviceKeyAnswer = {
  data: string;
  success: true;
};

export type DeviceKeys = {
  keys: Array<DeviceJWK>;
  thumbprint: Thumbprint;
};

export type Empty = string;

export type Error = {
  /** Origin, type and detail (XYYZZZ), as Trust1Connector clients know it. */
  code: number;
  /** For people; programs use `reason`. */
  description: string;
  reason: Reason;
  /** PIN tries left, with `pin_incorrect` where the card tells. */
  retries?: number;
  rule?: Rule;
  success: false;
};

export type FlagAnswer = {
  data: boolean;
  success: true;
};

export type Info = {
  cardbroker: InfoCardbroker;
  t1CInfoAPI: InfoAPI;
  t1CInfoOS: InfoOS;
  t1CInfoRuntime: InfoRuntime;
  t1CInfoUser: InfoUser;
};

export type InfoAPI = {
  activated: boolean;
  jwtEnabled: boolean;
  logLevel: string;
  modules: Array<string>;
  service: InfoService;
  uid: string;
  /** Of the Trust1Connector contract that is kept. */
  version: "3.6.1";
};

export type InfoCardbroker = {
  /** Of the registry that answers: it rises with each start of a service broker, and with each agent that is elected, as does that in the header `Cardbroker-Epoch` of all answers of an elected one. An agent has none. */
  epoch?: number;
  /** How the host finds agents. */
  mode: "service" | "elected" | "none";
  version: string;
};

export type InfoOS = {
  architecture: string;
  os: string;
  version: string;
};

export type InfoRuntime = {
  dateTime: string;
  desktop: string;
  runtime: string;
  version: string;
};

export type InfoService = {
  apiPort: Port;
  /** PROXY is the broker. */
  deviceType: "PROXY" | "AGENT";
  gRpcPort: 0;
  url: string;
};

/** Any page may read this, so all is empty but the name of the host. */
export type InfoUser = {
  country: Empty;
  home: Empty;
  hostName: string;
  installedDir: Empty;
  language: Empty;
  name: Empty;
  tempDir: Empty;
  timezone: Empty;
  username: Empty;
};

export type KnownATR = {
  /** Upper-case hexadecimal; X: any digit, * at the end: anything. */
  atr: string;
  module: string;
  moduleDescription: string;
};

export type KnownATRsAnswer = {
  data: Array<KnownATR>;
  success: true;
};

export type Lease = {
  /** The back end's address and port. */
  backend?: string;
  /** Since when the back end has no connection, and may come back; missing while it has one. */
  cut?: string;
  expires: string;
  /** How the tenant has shown who it is. */
  method?: "token" | "certificate" | "jwt" | "rendezvous";
  /** Its name. */
  reader: string;
  session?: SessionID;
  /** How the back end uses the reader. In a shared lease local programs have their turns at the card. */
  share?: "shared" | "exclusive" | "direct";
  since: string;
  tenant: Tenant;
  tunnel: TunnelID;
  /** Whose session; in the broker's list only. */
  user?: string;
};

export type Leases = {
  leases: Array<Lease>;
};

export type Mechanism = {
  flags: MechanismFlags;
  /** CKM_…, or 0x… of one without a name. */
  mechanism: string;
  ulMaxKeySize: number;
  ulMinKeySize: number;
};

export type MechanismFlags = {
  isDecrypt: boolean;
  isDigest: boolean;
  isEcCompress: boolean;
  isEcFP: boolean;
  isEcNamedcurve: boolean;
  isEcUncompress: boolean;
  isEncrypt: boolean;
  isExtension: boolean;
  isGenerate: boolean;
  isGenerateKeyPair: boolean;
  isHardware: boolean;
  isSign: boolean;
  isSignRecover: boolean;
  isUnwrap: boolean;
  isVerify: boolean;
  isVerifyRecover: boolean;
  isWrap: boolean;
};

export type Module = {
  /** How its process ended, and what the module said last. Programs of the user's are told, such as the doctor; pages are not. */
  cause?: string;
  /** Why it is not there, though it was asked for; or that it hangs. */
  error?: string;
  library?: ModuleLibrary;
  name: string;
  /** Its tokens are cards in PC/SC readers. */
  pcsc: boolean;
  /** Running, or idle: its process starts when it is needed. */
  state: "idle" | "running";
  title: string;
};

export type ModuleLibrary = {
  cryptokiVersion: string;
  libraryDescription: string;
  libraryVersion: string;
  manufacturerId: string;
};

export type Modules = {
  modules: Array<Module>;
};

export type Nothing = Record<string, never>;

export type Offer = {
  reader: ReaderID;
  tenant: Tenant;
};

export type Offered = {
  expires: string;
  reader: ReaderID;
  ticket: string;
  /** The whole address of the tunnel; on a host that calls the back end, its rendezvous. */
  url: string;
};

export type OpenRemote = {
  /** Seconds from one call to the next. */
  timeout?: number;
};

/** Of a web page, as browsers write it. */
export type Origin = string;

export type OwnAgent = {
  /** RFC 7638 with SHA-256, in base64url, of the P-256 device key; empty until the agent has one. */
  deviceKeyThumbprint: string;
  port: Port;
  session: SessionID;
  state: "RESERVED" | "REGISTERED" | "STALE";
};

export type PINChallenge = {
  expires: string;
  nonce: string;
};

export type PINVerified = {
  verified: true;
};

export type PINVerifiedAnswer = {
  data: PINVerified;
  success: true;
};

export type Port = number;

export type ReaderEvent = {
  /** Of the card that came in; else, or if it does not answer, empty. */
  atr: string;
  /** What the card that came in probably is. Left out if that is not known, and at the door for back ends. */
  description?: Array<string>;
  event: "reader_added" | "reader_removed" | "card_in" | "card_out";
  /** Of the reader. */
  name?: string;
  reader: ReaderID;
  time: string;
};

/** Stable for one agent and one asker; a page and each tenant see other ids of the same reader. */
export type ReaderID = string;

export type ReaderLease = {
  expires: string;
  tenant: Tenant;
};

/** Why, in one word. New ones may be added. */
export type Reason = "invalid" | "unauthenticated" | "consent_required" | "no_agent" | "forbidden" | "origin_denied" | "tenant_denied" | "caller_refused" | "reader_shared_host" | "not_found" | "reader_unknown" | "object_unknown" | "conflict" | "stale_epoch" | "session_ambiguous" | "reader_busy" | "card_absent" | "card_removed" | "card_reset" | "card_mute" | "card_unexpected" | "indeterminate" | "pin_incorrect" | "pin_blocked" | "pin_canceled" | "pin_not_encrypted" | "too_large" | "rate_limited" | "unsupported" | "overloaded" | "ports_exhausted" | "unavailable" | "no_leader" | "agent_restarting" | "audit_broken" | "session_unknown" | "timeout" | "canceled" | "internal";

export type RemoteAPDU = {
  apdu: APDU;
  /** Of open-session; empty or missing, the call is by itself. */
  sessionId?: string;
};

export type RemoteAPDUs = {
  apdus: Array<APDU>;
  /** Of open-session; empty or missing, the call is by itself. */
  sessionId?: string;
};

export type RemoteAnswer = {
  /** The data of the answer, without the status word; missing, if there are none. */
  rx?: string;
  /** The status word. */
  sw: string;
  /** What was sent. */
  tx: string;
};

export type RemoteAnswerAnswer = {
  data: RemoteAnswer;
  success: true;
};

export type RemoteAnswersAnswer = {
  data: Array<RemoteAnswer>;
  success: true;
};

export type RemoteCCID = {
  /** PIN_VERIFY_STRUCTURE or PIN_MODIFY_STRUCTURE, PC/SC Part 10 §2.5, up to 1 KiB; empty for GET_TLV_PROPERTIES. */
  command: string;
  feature: "VERIFY_PIN_DIRECT" | "MODIFY_PIN_DIRECT" | "GET_TLV_PROPERTIES";
  /** Of open-session; empty or missing, the call is by itself. */
  sessionId?: string;
};

export type RemoteCommand = {
  /** A command APDU of 4 to 65,544 bytes. */
  command: string;
  /** Of open-session; empty or missing, the call is by itself. */
  sessionId?: string;
};

export type RemoteCommands = {
  commands: Array<string>;
  /** Of open-session; empty or missing, the call is by itself. */
  sessionId?: string;
};

export type RemoteReader = {
  card: Card | null;
  host: string;
  id: ReaderID;
  /** Of the tenant's own; null while the tenant does not hold the reader. */
  lease: ReaderLease | null;
  name: string;
  session: SessionID;
};

export type RemoteReaders = {
  readers: Array<RemoteReader>;
};

export type RemoteSession = {
  /** Of open-session; empty or missing, the call is by itself. */
  sessionId?: string;
};

export type ResetTokenPIN = {
  base64Encoded?: boolean;
  osDialog?: boolean;
  /** The new one. */
  pin?: string;
  puk?: string;
  /** Issign, isauthenticate or isencrypt: a token has one PIN here. */
  reference?: "issign" | "isauthenticate" | "isencrypt";
  /** Without a new PIN: not served. */
  resetOnly?: boolean;
  timeout?: number;
};

/** The check that refused. New ones may be added. */
export type Rule = "peer_unsupported" | "peer_not_loopback" | "peer_not_found" | "peer_not_established" | "peer_no_inode" | "peer_mismatch" | "peer_overflow_uid" | "peer_no_process" | "socket_gone" | "connection_limit" | "rate" | "host_header" | "origin_null" | "origin_malformed" | "origin_unconsented" | "consent_policy" | "own_page" | "fetch_without_origin" | "csrf_token" | "media_type" | "socket_origin" | "page_jwt" | "local_programs" | "other_user" | "not_admin" | "listener_foreign" | "listener_missing" | "socket_foreign" | "claim" | "quota" | "no_agent" | "session_ambiguous" | "tenant_origin" | "ticket" | "forward" | "token" | "token_time" | "firewall" | "pin_rate" | "pin_clear" | "pin_challenge" | "pin_floor" | "page_pin" | "scope_same_user" | "port_taken";

export type SessionID = string;

export type SignRequest = {
  algorithm: string;
  base64Encoded?: boolean;
  /** Base64: the hash, or the data itself if Hashed is false. */
  data: string;
  /** Nil: true. */
  hashed?: boolean;
  /** Of the certificate; empty: the default one. */
  id?: string;
  language?: string;
  /** The user is asked, whatever PIN says. */
  osDialog?: boolean;
  /** Not served. */
  pace?: string;
  /** Encrypted to the device key; empty: the user is asked, or has been. */
  pin?: string;
  /** Seconds, 1 to 60. */
  timeout?: number;
  /** Without a meaning. */
  txId?: string;
};

export type SignatureValid = {
  valid: boolean;
};

export type SignatureValidAnswer = {
  data: SignatureValid;
  success: true;
};

export type Slot = {
  description: string;
  firmwareVersion: string;
  hardwareVersion: string;
  id: ReaderID;
  manufacturerId: string;
  reader?: ReaderID;
  token?: SlotToken;
};

export type SlotToken = {
  label: string;
  manufacturerId: string;
  model: string;
  serialNumber: string;
};

export type Slots = {
  slots: Array<Slot>;
};

export type T1CAgent = {
  apiIp: string;
  apiLastUsed: string;
  apiPid: string;
  apiPort: string;
  clientLastUsed: string;
  connectionState: string;
  hostname: string;
  sandboxIp: string;
  sandboxPid: string;
  sandboxPort: string;
  username: string;
  validityInDays: string;
};

export type T1CAgentsAnswer = {
  data: Array<T1CAgent>;
  success: true;
};

export type Tenant = string;

export type TextAnswer = {
  data: string;
  success: true;
};

/** RFC 7638 with SHA-256, in base64url. */
export type Thumbprint = string;

export type Token = {
  /** By the broker's clock. */
  expires: string;
  /** From now to then, for who has another clock. */
  seconds: number;
  /** A compact JWS. */
  token: string;
};

export type TokenCertificate = {
  /** Base64 of DER. */
  certificate: string;
  /** Authentication, nonRepudiation, encryption, issuer, intermediate or root. */
  certificateType: "authentication" | "nonRepudiation" | "encryption" | "issuer" | "intermediate" | "root";
  /** Whole days; negative: since so many. */
  expiresInDays: number;
  /** Of an RSA key, hexadecimal; else empty. */
  exponent: string;
  /** The same of the issuer's; empty: it is not on the token. */
  hashIssPubKey: string;
  /** SHA-256 of the SubjectPublicKeyInfo, hexadecimal. */
  hashSubPubKey: string;
  /** CKA_ID in hexadecimal: names the key to sign with. */
  id: string;
  issuer: string;
  notAfter: string;
  notBefore: string;
  /** Its modulus. */
  remainder: string;
  /** Upper-case hexadecimal. */
  serialNumber: string;
  /** RFC 4514. */
  subject: string;
  /** Always empty: nothing is stored elsewhere. */
  url: string;
  /** Expired, expires_soon, not_yet_valid or empty. */
  warning: "" | "expired" | "expires_soon" | "not_yet_valid";
};

export type TokenCertificates = {
  certificates?: Array<TokenCertificate>;
};

export type TokenCertificatesAnswer = {
  data: TokenCertificates;
  success: true;
};

export type TokenData = {
  firmwareVersion: string;
  flags: TokenFlags;
  hardwareVersion: string;
  label: string;
  manufacturerId: string;
  mechanisms: Array<Mechanism>;
  model: string;
  serialNumber: string;
  /** CK_SLOT_ID, decimal. */
  slot: string;
  ulFreePrivateMemory: number;
  ulFreePubMemory: number;
  ulMaxPinLen: number;
  ulMaxRwSessionCount: number;
  ulMaxSessionCount: number;
  ulMinPinLen: number;
  ulSessionCount: number;
  ulTotalPrivateMemory: number;
  /** The spelling of existing clients. */
  ulTotalPubLicMemory: number;
};

export type TokenFlags = {
  isClockOnToken: boolean;
  isDualCryptoOperations: boolean;
  isLoginRequired: boolean;
  isProtectedAuthenticationPath: boolean;
  isRandomNumberGenerator: boolean;
  isRestoreKeyNotNeeded: boolean;
  isSecondaryAuthentication: boolean;
  isSoPinCountLow: boolean;
  isSoPinFinalTry: boolean;
  isSoPinLocked: boolean;
  isSoPinToBeChanged: boolean;
  isTokenInitialized: boolean;
  isUserPinCountLow: boolean;
  isUserPinFinalTry: boolean;
  isUserPinInitialized: boolean;
  isUserPinLocked: boolean;
  isUserPinToBeChanged: boolean;
  isWriteProtected: boolean;
};

export type TokenInfo = {
  info: TokenData;
  infoType: 1;
  module: TokenModule;
};

export type TokenInfoAnswer = {
  data: TokenInfo;
  success: true;
};

export type TokenModule = {
  /** Always false: what is signed is a hash. */
  isHashedByToken: boolean;
  name: string;
};

export type TokenPIN = {
  base64Encoded?: boolean;
  osDialog?: boolean;
  pace?: string;
  pin?: string;
  timeout?: number;
};

export type TokenSignature = {
  /** Base64; of ECDSA r and s, one after the other. */
  data: string;
};

export type TokenSignatureAnswer = {
  data: TokenSignature;
  success: true;
};

export type TrueAnswer = {
  data: true;
  success: true;
};

export type TunnelID = string;

export type ValidateRequest = {
  consents: Array<string>;
};

export type ValidateSignature = {
  algorithm: string;
  /** Base64: the hash, or the data itself if Hashed is false. */
  hash: string;
  hashed?: boolean;
  /** Of the certificate; empty: the default one of …/sign. */
  id?: string;
  language?: string;
  osDialog?: boolean;
  pin?: string;
  /** Base64. */
  signedHash: string;
  timeout?: number;
  txId?: string;
};

export type VerifyPIN = {
  /** The application that is selected first; none if it is missing. */
  aid?: string;
  /** How the PIN stands in the command. piv, the default: ASCII, filled up with FF to 8 bytes; ascii: nothing else; bcd: two digits a byte, filled up with F to 8 bytes; iso9564-2: a PIN block of format 2. */
  encoding?: "piv" | "ascii" | "bcd" | "iso9564-2";
  /** The user is asked, and the PIN of the page is not looked at. */
  osDialog?: boolean;
  /** Encrypted. Missing, the user is asked. */
  pin?: string;
  /** P2 of VERIFY, ISO/IEC 7816-4 §11.6.6. */
  reference: string;
};

export type X509Certificate = {
  /** Each with its kind before it, `email:`, `dns:`, `ip:` or `uri:`. */
  alternativeNames: Array<string>;
  /** By name, or as object identifier. */
  extKeyUsages: Array<string>;
  /** RFC 4514. */
  issuer: string;
  issuerCNs: Array<string>;
  keyBits: number;
  /** SHA-256 of the SubjectPublicKeyInfo. */
  keyHash: string;
  /** Empty if it is of another kind. */
  keyType: "rsa" | "ec" | "ed25519" | "";
  /** By the names of RFC 5280, section 4.2.1.3. This, `extKeyUsages` and `alternativeNames` are empty where the certificate breaks rules that the parser insists on. */
  keyUsages: Array<string>;
  notAfter: string;
  notBefore: string;
  /** The bytes of the number; a negative one has a minus before it. */
  serial: string;
  /** RFC 4514. */
  subject: string;
  /** The common names, the most specific first. */
  subjectCNs: Array<string>;
  version: number;
  /** By the clock of the host; `expires_soon` means within 30 days. */
  warning?: "expired" | "expires_soon" | "not_yet_valid";
};

export type X509CertificateAnswer = {
  data: X509Certificate;
  success: true;
};

export type X509Request = {
  /** One certificate, as PEM or as the base64 of its DER. */
  cert: string;
};
