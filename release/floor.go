package release

import (
	"slices"

	"github.com/openskr/openskr/attest"
)

// requirement is one row of the floor: what a release always demands, whatever
// a tenant's policy says (docs/floor.md). No configuration reaches it.
type requirement struct {
	name  string
	holds func(attest.Facts) bool
}

var (
	bound  = requirement{"runtime data bound", func(f attest.Facts) bool { return f.Bound }}
	always = []requirement{
		{"chain", func(f attest.Facts) bool { return f.Chain }},
		{"signature", func(f attest.Facts) bool { return f.Signature }},
		bound,
		{"recipient bound", func(f attest.Facts) bool { return f.Recipient }},
		{"revocation checked", func(f attest.Facts) bool { return f.Revocation == attest.Checked }},
		{"debug off", func(f attest.Facts) bool { return !f.Debug }},
		{"no migration", func(f attest.Facts) bool { return !f.Migratable }},
	}
	resident = requirement{"recipient resident in the TPM", func(f attest.Facts) bool { return f.Resident }}
	tcbKnown = requirement{"TCB status known", func(f attest.Facts) bool {
		return f.TCBStatus != "" && f.TCBStatus != attest.TCBUnknown && f.TCBStatus != attest.TCBRevoked
	}}
	tcbNotBad = requirement{"TCB status, where there is one, known", func(f attest.Facts) bool {
		return f.TCBStatus == "" || tcbKnown.holds(f)
	}}
)

// floorTable is evidence type × door. A type or door without a row releases
// nothing. Simulated evidence has the rows of the type it plays.
var floorTable = map[attest.Type]map[Door][]requirement{
	attest.TypeTPM:      {DoorNative: rows(resident)},
	attest.TypeSNP:      {DoorNative: rows()},
	attest.TypeTDX:      {DoorNative: rows(tcbKnown)},
	attest.TypeSGX:      {DoorNative: rows(tcbKnown)},
	attest.TypeAzureCVM: {DoorNative: rows(tcbNotBad)},
	attest.TypeNitro:    {DoorNative: rows()},
	attest.TypeGCE:      {DoorNative: rows(resident, tcbNotBad)},
	attest.TypeToken:    {DoorNative: rows(tcbNotBad), DoorKeyVault: onToken(tcbNotBad)},
}

// onToken is for what comes without a request of its own that the hardware signed:
// the key it is wrapped to is bound all the same.
func onToken(more ...requirement) []requirement {
	return slices.DeleteFunc(rows(more...), func(r requirement) bool { return r.name == bound.name })
}

func rows(more ...requirement) []requirement { return slices.Concat(always, more) }

// enrols says whether a machine of this type must be enrolled and approved before
// anything else: a TPM alone proves what its bus told it, and any TPM on earth is
// genuine. The others prove which code runs on whose hardware.
func enrols(t attest.Type) bool {
	base, _ := t.Base()
	return base == attest.TypeTPM
}

func floor(res *attest.Result, door Door, simulation bool) error {
	base, simulated := res.Type.Base()
	rows := floorTable[base][door]
	if len(rows) == 0 || simulated && !simulation {
		return Refuse(Reason(attest.CheckTypeNotAllowed), "evidence type %s releases nothing through the %s door", res.Type, door)
	}
	switch {
	case res.Facts.Debug:
		return Refuse(Reason(attest.CheckDebug), "floor: debug is on")
	case res.Facts.Migratable:
		return Refuse(Reason(attest.CheckMigration), "floor: the machine may be migrated")
	case res.Facts.TCBStatus == attest.TCBUnknown:
		return Refuse(Reason(attest.CheckTCBUnknown), "floor: no collateral says which TCB level the platform has")
	case res.Facts.TCBStatus == attest.TCBRevoked:
		return Refuse(Reason(attest.CheckTCBRevoked), "floor: the platform's TCB level is revoked")
	}
	for _, r := range rows {
		if !r.holds(res.Facts) {
			return Refuse(ReasonFloor, "floor: %s does not hold", r.name)
		}
	}
	if res.Recipient == nil {
		return Refuse(Reason(attest.CheckNoRecipient), "floor: no attested recipient")
	}
	return nil
}
