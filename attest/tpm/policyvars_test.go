package tpm_test

import (
	"encoding/binary"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/tpm/tpmtest"
)

// TestPolicyVariableHidden: each of the five variables of every boot, hidden under
// another type that is allowed there, or not sent at all with the PCR it leads to.
func TestPolicyVariableHidden(t *testing.T) {
	all := []string{"secureboot", "secureboot_db", "secureboot_db_hashes", "secureboot_dbx_count", "secureboot_authorities", "secureboot_other_authorities"}
	hide := map[string]func([]tpmtest.Event, int) []tpmtest.Event{
		"as an authority": func(ev []tpmtest.Event, i int) []tpmtest.Event { ev[i].Type = authority; return ev },
		"as an action":    func(ev []tpmtest.Event, i int) []tpmtest.Event { ev[i].Type = efiAction; return ev },
		"never measured":  func(ev []tpmtest.Event, i int) []tpmtest.Event { return slices.Delete(ev, i, i+1) },
		"in PCR 6":        func(ev []tpmtest.Event, i int) []tpmtest.Event { ev[i].PCR = 6; return ev },
	}
	for i := 1; i <= 5; i++ {
		for how, fn := range hide {
			c, err := claimsOf(t, func(ev []tpmtest.Event) []tpmtest.Event { return fn(ev, i) })
			if err != nil {
				t.Fatalf("event %d %s: %v", i, how, err)
			}
			for _, name := range all {
				if v, ok := c[name]; ok {
					t.Errorf("event %d %s: %s is %v", i, how, name, v)
				}
			}
			if eventlogClaim(c, "complete") != false {
				t.Errorf("event %d %s: complete", i, how)
			}
		}
	}
}

// entries is a signature database of n certificates of one byte, or n hashes.
func entries(typ string, n int) []byte {
	size := 17
	if typ == sha256GUID {
		size = 48
	}
	var body []byte
	for i := range n {
		e := make([]byte, size)
		binary.BigEndian.PutUint16(e[size-2:], uint16(i))
		body = append(body, e...)
	}
	return sigList(typ, uint32(28+len(body)), 0, uint32(size), body)
}

// TestClaimsStaySmall: the claims of a decision are kept with its record, so a log
// must not make them larger than 256 KiB.
func TestClaimsStaySmall(t *testing.T) {
	fill := func(certs, hashes, used, others int) func([]tpmtest.Event) []tpmtest.Event {
		return func(ev []tpmtest.Event) []tpmtest.Event {
			ev[2].Data = variable(securityGUID, "db", append(entries(x509GUID, certs), entries(sha256GUID, hashes)...))
			ev = slices.DeleteFunc(ev, func(e tpmtest.Event) bool { return e.PCR == 8 || e.Type == authority })
			for i := range used {
				ev = append(ev, tpmtest.Event{PCR: 7, Type: authority, Data: variable(securityGUID, "db", binary.BigEndian.AppendUint16(make([]byte, 16), uint16(i)))})
			}
			for i := range others {
				ev = append(ev, tpmtest.Event{PCR: 7, Type: authority, Data: variable(securityGUID, "Shim", binary.BigEndian.AppendUint16(nil, uint16(i)))})
			}
			return append(ev, tpmtest.Event{PCR: 12, Type: ipl, Data: utf16le(strings.Repeat("<", 16<<10-1) + "\x00")})
		}
	}
	largest := fill(256, 256, 256, 256)
	c, err := claimsOf(t, func(ev []tpmtest.Event) []tpmtest.Event {
		ev[0].Data = utf16le(strings.Repeat("<", 511) + "\x00")
		return largest(ev)
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	boot := c["boot"].(map[string]any)
	if len(b) > 256<<10 || len(boot["cmdline"].(string)) != 16<<10-1 || len(boot["firmware"].(string)) != 511 || len(c["secureboot_db"].([]any)) != 256 {
		t.Errorf("claims of %d bytes", len(b))
	}
	for name, change := range map[string]func([]tpmtest.Event) []tpmtest.Event{
		"certificates": fill(257, 0, 0, 0), "hashes": fill(0, 257, 0, 0), "authorities": fill(0, 0, 257, 0),
		"other authorities": fill(0, 0, 0, 257), "30000 certificates": fill(30_000, 0, 0, 0),
	} {
		if _, err := claimsOf(t, change); err == nil {
			t.Errorf("%s: accepted", name)
		} else {
			wantCheck(t, err, attest.CheckEventLog)
		}
	}
	c, err = claimsOf(t, func(ev []tpmtest.Event) []tpmtest.Event {
		ev[0].Data = utf16le(strings.Repeat("<", 512) + "\x00")
		return ev
	})
	if err != nil || c["boot"].(map[string]any)["firmware"] != nil {
		t.Errorf("firmware of 513 characters: %v, %v", c["boot"], err)
	}
}
