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

// maxEntries bounds each list of claims from PCR 7, and with them what a decision
// keeps in its record. Real lists of certificates have under ten entries; a longer
// one is refused, since a list without its end would say that nothing else is there.
const maxEntries = 256

// secureBoot reads PCR 7: the policy that firmware measured before the separator
// at sep, and the authorities it used. Every event there must have a digest that
// covers its data; one that has not withholds the claims of its half. policy says
// whether the half before the separator could be read.
func (l eventLog) secureBoot(claims attest.Claims, alg uint16, sep int) (policy bool, _ *attest.Rejection) {
	vars, used, ok := l.policyVariables(alg, sep)
	if !ok {
		return false, nil
	}
	if rej := policyClaims(claims, vars); rej != nil {
		return false, rej
	}
	for i := sep + 1; i < len(l); i++ {
		e := &l[i]
		if e.PCR != 7 || e.Type == evNoAction {
			continue
		}
		v, err := parseVariable(e.Data)
		if e.Type != evEFIVariableAuthority || !e.Covers(alg, e.Data) || err != nil {
			return true, nil
		}
		used = append(used, v)
	}
	return true, authorityClaims(claims, used)
}

// policyClaims reads the variables of policyVariables.
func policyClaims(claims attest.Claims, vars map[string][]byte) *attest.Rejection {
	if v := vars[guidGlobal+"SecureBoot"]; len(v) <= 1 {
		claims["secureboot"] = len(v) == 1 && v[0] == 1
	}
	db, err := parseSignatureLists(vars[guidSecurity+"db"])
	if err != nil {
		return attest.Reject(attest.CheckEventLog, "db in PCR 7: %w", err)
	}
	if len(db.certs) > maxEntries || len(db.hashes) > maxEntries {
		return attest.Reject(attest.CheckEventLog, "db in PCR 7: %d certificates and %d hashes, limit %d each", len(db.certs), len(db.hashes), maxEntries)
	}
	claims["secureboot_db"] = digests(db.certs)
	claims["secureboot_db_hashes"] = hexes(db.hashes)
	dbx, err := parseSignatureLists(vars[guidSecurity+"dbx"])
	if err != nil {
		return attest.Reject(attest.CheckEventLog, "dbx in PCR 7: %w", err)
	}
	claims["secureboot_dbx_count"] = int64(len(dbx.certs) + len(dbx.hashes) + dbx.other)
	return nil
}

// policyVariables gives the variables of PCR 7 before the separator, by GUID and
// name, and the authorities already used there by option ROMs. ok is false
// unless every event there is one of them, whole, each variable once, and none of
// [policyNames] missing: an event can be relabelled, so a variable that is not
// among those of its type may stand there under another.
func (l eventLog) policyVariables(alg uint16, sep int) (vars map[string][]byte, used []efiVariable, ok bool) {
	vars = make(map[string][]byte, 6)
	for i := range sep {
		e := &l[i]
		if e.PCR != 7 || e.Type == evNoAction {
			continue
		}
		if !e.Covers(alg, e.Data) {
			return nil, nil, false
		}
		if e.Type == evEFIAction && string(e.Data) == actionNoDMA {
			continue
		}
		v, err := parseVariable(e.Data)
		_, twice := vars[v.guid+v.name]
		switch {
		case err != nil:
			return nil, nil, false
		case e.Type == evEFIVariableAuthority:
			used = append(used, v)
		case e.Type != evEFIVariableDriverConfig || twice:
			return nil, nil, false
		default:
			vars[v.guid+v.name] = v.data
		}
	}
	for _, name := range policyNames() {
		if _, found := vars[name]; !found {
			return nil, nil, false
		}
	}
	return vars, used, true
}

// policyNames are the variables that firmware measures in every boot, in secure
// boot or not, empty or not (PFP §3.3.4.8): a real log has them all.
func policyNames() []string {
	return []string{guidGlobal + "SecureBoot", guidGlobal + "PK", guidGlobal + "KEK", guidSecurity + "db", guidSecurity + "dbx"}
}

// authorityClaims says who signed what was started: entries of db that firmware
// used, and those that shim adds. Events appended later by a running system only
// add to these lists, so a policy must allow every entry, not look for one.
func authorityClaims(claims attest.Claims, used []efiVariable) *attest.Rejection {
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
		if len(db) > maxEntries || len(others) > maxEntries {
			return attest.Reject(attest.CheckEventLog, "PCR 7: more than %d authorities", maxEntries)
		}
	}
	claims["secureboot_authorities"] = db
	claims["secureboot_other_authorities"] = others
	return nil
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
