package tpm

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/openskr/openskr/attest"
)

// actionNoDMA is the one EV_EFI_ACTION of PCR 7 that says nothing about secure
// boot (PFP §10.4.4). Any other, such as "UEFI Debug Mode", withholds its claims.
const actionNoDMA = "DMA Protection Disabled"

// secureBoot reads PCR 7: the policy that firmware measured before the separator
// at sep, and the authorities it used. Every event there must have a digest that
// covers its data; one that has not withholds the claims of its half.
func (l *eventLog) secureBoot(claims attest.Claims, alg uint16, sep int) *attest.Rejection {
	vars, used, ok := l.policyVariables(alg, sep)
	if !ok {
		return nil
	}
	if v, ok := vars[guidGlobal+"SecureBoot"]; ok && len(v) <= 1 {
		claims["secureboot"] = len(v) == 1 && v[0] == 1
	}
	if v, ok := vars[guidSecurity+"db"]; ok {
		s, err := parseSignatureLists(v)
		if err != nil {
			return attest.Reject(attest.CheckEventLog, "db in PCR 7: %w", err)
		}
		claims["secureboot_db"] = digests(s.certs)
		claims["secureboot_db_hashes"] = hexes(s.hashes)
	}
	if v, ok := vars[guidSecurity+"dbx"]; ok {
		s, err := parseSignatureLists(v)
		if err != nil {
			return attest.Reject(attest.CheckEventLog, "dbx in PCR 7: %w", err)
		}
		claims["secureboot_dbx_count"] = int64(len(s.certs) + len(s.hashes) + s.other)
	}
	for i := sep + 1; i < len(l.events); i++ {
		e := &l.events[i]
		if e.pcr != 7 || e.typ == evNoAction {
			continue
		}
		v, err := parseVariable(e.data)
		if e.typ != evEFIVariableAuthority || !e.covers(alg, e.data) || err != nil {
			return nil
		}
		used = append(used, v)
	}
	authorityClaims(claims, used)
	return nil
}

// policyVariables gives the variables of PCR 7 before the separator, by GUID and
// name, and the authorities already used there by option ROMs. ok is false
// unless every event there is one of them, whole, and each variable once.
func (l *eventLog) policyVariables(alg uint16, sep int) (vars map[string][]byte, used []efiVariable, ok bool) {
	vars = make(map[string][]byte, 6)
	for i := range sep {
		e := &l.events[i]
		if e.pcr != 7 || e.typ == evNoAction {
			continue
		}
		if !e.covers(alg, e.data) {
			return nil, nil, false
		}
		if e.typ == evEFIAction && string(e.data) == actionNoDMA {
			continue
		}
		v, err := parseVariable(e.data)
		_, twice := vars[v.guid+v.name]
		switch {
		case err != nil:
			return nil, nil, false
		case e.typ == evEFIVariableAuthority:
			used = append(used, v)
		case e.typ != evEFIVariableDriverConfig || twice:
			return nil, nil, false
		default:
			vars[v.guid+v.name] = v.data
		}
	}
	return vars, used, true
}

// authorityClaims says who signed what was started: entries of db that firmware
// used, and those that shim adds. Events appended later by a running system only
// add to these lists, so a policy must allow every entry, not look for one.
func authorityClaims(claims attest.Claims, used []efiVariable) {
	db, others := []any{}, []any{}
	for _, v := range used {
		switch {
		case v.guid == guidSecurity && v.name == "db" && len(v.data) > guidSize:
			db = add(db, v.data[guidSize:]) // EFI_SIGNATURE_DATA: owner, then the certificate
		case v.guid == guidShim && (v.name == "SbatLevel" || v.name == "MokListTrusted"):
			// Settings of shim, not authorities.
		default:
			others = add(others, v.data)
		}
	}
	claims["secureboot_authorities"] = db
	claims["secureboot_other_authorities"] = others
}

func add(list []any, data []byte) []any {
	d := sha256.Sum256(data)
	if s := hex.EncodeToString(d[:]); !slices.Contains(list, any(s)) {
		list = append(list, s)
	}
	return list
}

func digests(list [][]byte) []any {
	out := make([]any, 0, len(list))
	for _, b := range list {
		d := sha256.Sum256(b)
		out = append(out, hex.EncodeToString(d[:]))
	}
	return out
}

func hexes(list [][]byte) []any {
	out := make([]any, 0, len(list))
	for _, b := range list {
		out = append(out, hex.EncodeToString(b))
	}
	return out
}
