// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

// A PKCS#11 library for tests, with two slots. What it does wrong, the words in the environment variable FAKE say. Its one key signs by
// telling what it was asked: the mechanism, as a byte, and the input.

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pkcs11go.h"

static int is(const char *word) {
	const char *all = getenv("FAKE");
	return all != NULL && strstr(all, word) != NULL;
}

static void talk(const char *name, const char *text, unsigned long n) {
	if (!is("print"))
		return;
	for (int i = 0; i < 1000; i++) {
		printf("%s %.*s\n", name, (int)n, text);
		fprintf(stderr, "%s %.*s\n", name, (int)n, text);
	}
	fflush(stdout);
}

static CK_BYTE mechanism;
static int found, contexts, logged, told, opened;

static CK_RV initialize(void *args) {
	talk("C_Initialize", "", 0);
	if (is("stuck"))
		sleep(1000);
	return is("uninitialised") ? CKR_GENERAL_ERROR : CKR_OK;
}
static CK_RV finalize(void *reserved) {
	const char *file = getenv("FINALIZED");
	if (is("endless"))
		sleep(1000);
	if (file != NULL)
		close(creat(file, 0600));
	return CKR_OK;
}
static CK_RV info(CK_INFO *i) {
	memset(i, ' ', sizeof *i);
	i->cryptokiVersion.major = 2, i->cryptokiVersion.minor = 40;
	memcpy(i->manufacturerID, "fake\xff", 5);
	i->flags = 0;
	return CKR_OK;
}
static CK_RV slots(CK_BBOOL present, CK_SLOT_ID *list, CK_ULONG *n) {
	CK_ULONG all = is("many") ? 20 : 2;
	if (list != NULL)
		for (CK_ULONG i = 0; i < all; i++)
			list[i] = is("reversed") ? all - 1 - i : i;
	*n = all;
	return CKR_OK;
}
static CK_RV slot(CK_SLOT_ID id, CK_SLOT_INFO *i) {
	memset(i, ' ', sizeof *i);
	i->slotDescription[0] = 'a' + id;
	i->flags = CKF_TOKEN_PRESENT;
	return CKR_OK;
}
static CK_RV tokenInfo(CK_SLOT_ID id, CK_TOKEN_INFO *i) {
	memset(i, ' ', sizeof *i);
	i->label[0] = 'a' + id;
	i->serialNumber[0] = is("swapped") && opened ? 'z' : '1' + id;
	if (logged)
		memcpy(i->label + 1, " with a user", 12);
	i->flags = CKF_TOKEN_INITIALIZED | CKF_LOGIN_REQUIRED | (is("final") ? CKF_USER_PIN_FINAL_TRY : 0) |
		(is("locked") ? CKF_USER_PIN_LOCKED : 0) | (is("keypad") ? CKF_PROTECTED_AUTHENTICATION_PATH : 0);
	i->ulMaxSessionCount = CK_EFFECTIVELY_INFINITE;
	i->ulSessionCount = CK_UNAVAILABLE_INFORMATION;
	i->ulMinPinLen = 4, i->ulMaxPinLen = 16;
	if (is("leak")) {
		malloc(1 << 20);
		open("/usr/lib", O_RDONLY);
	}
	return CKR_OK;
}
static CK_RV mechanisms(CK_SLOT_ID id, CK_MECHANISM_TYPE *list, CK_ULONG *n) {
	CK_MECHANISM_TYPE raw[] = {CKM_RSA_PKCS, CKM_SHA256_RSA_PKCS}, hashing[] = {CKM_SHA256_RSA_PKCS, 0x80001234};
	if (list != NULL)
		memcpy(list, is("hashing") ? hashing : raw, sizeof raw);
	*n = 2;
	return CKR_OK;
}
static CK_RV mechanismInfo(CK_SLOT_ID id, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO *i) {
	memset(i, 0, sizeof *i);
	return CKR_OK;
}
static CK_RV openSession(CK_SLOT_ID id, CK_FLAGS f, void *a, CK_NOTIFY n, CK_SESSION_HANDLE *s) {
	*s = 1 + id;
	opened = 1;
	return is("full") ? CKR_SESSION_COUNT : CKR_OK;
}
static CK_RV ok(CK_SESSION_HANDLE s) {
	return CKR_OK;
}
static CK_RV logout(CK_SESSION_HANDLE s) {
	logged = 0;
	return CKR_OK;
}
static CK_RV login(CK_SESSION_HANDLE s, CK_USER_TYPE u, CK_UTF8CHAR *pin, CK_ULONG n) {
	talk("C_Login", (char *)pin, n);
	if (is("hang") && s == 1) {
		int fd = open(getenv("HANGS"), O_WRONLY);
		write(fd, "!", 1);
		close(fd);
		sleep(1000);
	}
	if (is("abort"))
		abort();
	if (is("segfault")) // with the PIN in a register
		*(volatile unsigned long *)*(unsigned long *)pin = 0;
	if (is("cancel"))
		return CKR_FUNCTION_CANCELED;
	if (is("wrong"))
		return CKR_PIN_INCORRECT;
	if (u == CKU_CONTEXT_SPECIFIC && n == 0 && !is("keypad")) // a try is spent
		return CKR_PIN_INCORRECT;
	if (u == CKU_CONTEXT_SPECIFIC) {
		contexts++;
		return CKR_OK;
	}
	if (is("already") && !told++)
		logged = 1;
	if (logged)
		return CKR_USER_ALREADY_LOGGED_IN;
	logged = 1;
	return is("keypad") && n > 0 ? CKR_ARGUMENTS_BAD : CKR_OK;
}
static CK_RV setPIN(CK_SESSION_HANDLE s, CK_UTF8CHAR *old, CK_ULONG n, CK_UTF8CHAR *new, CK_ULONG m) {
	return is("keypad") && n + m > 0 ? CKR_ARGUMENTS_BAD : CKR_OK;
}
static CK_RV findInit(CK_SESSION_HANDLE s, CK_ATTRIBUTE *t, CK_ULONG n) {
	found = 0;
	for (CK_ULONG i = 0; i < n; i++)
		if (t[i].type == CKA_CLASS)
			found += *(CK_OBJECT_CLASS *)t[i].pValue != CKO_PRIVATE_KEY;
		else if (t[i].type == CKA_KEY_TYPE)
			found += *(CK_KEY_TYPE *)t[i].pValue != CKK_RSA;
	return CKR_OK;
}
static CK_RV find(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE *o, CK_ULONG max, CK_ULONG *n) {
	*n = !found++;
	*o = 1;
	return CKR_OK;
}
static CK_RV give(CK_ATTRIBUTE *t, const void *value, CK_ULONG n) {
	if (t->pValue != NULL)
		memcpy(t->pValue, value, n);
	t->ulValueLen = n;
	return CKR_OK;
}
static CK_RV attribute(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE o, CK_ATTRIBUTE *t, CK_ULONG n) {
	CK_KEY_TYPE rsa = CKK_RSA;
	CK_MECHANISM_TYPE hashing = CKM_SHA256_RSA_PKCS;
	CK_BBOOL yes = CK_TRUE;
	if (t->type == CKA_KEY_TYPE)
		return give(t, &rsa, sizeof rsa);
	if (t->type == CKA_SIGN || (t->type == CKA_ALWAYS_AUTHENTICATE && is("each")))
		return give(t, &yes, sizeof yes);
	if (t->type == CKA_ALLOWED_MECHANISMS && is("allowed"))
		return give(t, &hashing, sizeof hashing);
	return CKR_ATTRIBUTE_TYPE_INVALID;
}
static CK_RV signInit(CK_SESSION_HANDLE s, CK_MECHANISM *m, CK_OBJECT_HANDLE o) {
	mechanism = m->mechanism;
	contexts = 0;
	return is("picky") && m->mechanism == CKM_RSA_PKCS ? CKR_MECHANISM_INVALID : CKR_OK;
}
static CK_RV sign(CK_SESSION_HANDLE s, CK_BYTE *in, CK_ULONG n, CK_BYTE *out, CK_ULONG *m) {
	*m = n + 1;
	if (is("each") && !contexts)
		return CKR_USER_NOT_LOGGED_IN;
	if (out != NULL) {
		out[0] = mechanism;
		memcpy(out + 1, in, n);
	}
	return CKR_OK;
}

static CK_FUNCTION_LIST functions = {
	.version = {2, 40},
	.C_Initialize = initialize, .C_Finalize = finalize, .C_GetInfo = info, .C_GetSlotList = slots, .C_GetSlotInfo = slot,
	.C_GetTokenInfo = tokenInfo, .C_GetMechanismList = mechanisms, .C_GetMechanismInfo = mechanismInfo,
	.C_OpenSession = openSession, .C_CloseSession = ok, .C_CloseAllSessions = ok, .C_Login = login, .C_Logout = logout,
	.C_SetPIN = setPIN, .C_FindObjectsInit = findInit, .C_FindObjects = find, .C_FindObjectsFinal = ok,
	.C_GetAttributeValue = attribute, .C_SignInit = signInit, .C_Sign = sign,
};

CK_RV C_GetFunctionList(CK_FUNCTION_LIST **list) {
	*list = &functions;
	return CKR_OK;
}
