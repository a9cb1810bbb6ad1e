package release

import "github.com/openskr/openskr/attest"

// requirement is one row of the floor: what a release always demands, whatever
// a tenant's policy says (docs/floor.md). No configuration reaches it.
type requirement struct {
	name  string
	holds func(attest.Facts) bool
}

// floorTable is evidence type × door. A type or door without a row releases
// nothing.
var floorTable = map[attest.Type]map[Door][]requirement{
	attest.TypeTPM: {
		DoorNative: {
			{"chain", func(f attest.Facts) bool { return f.Chain }},
			{"signature", func(f attest.Facts) bool { return f.Signature }},
			{"runtime data bound", func(f attest.Facts) bool { return f.Bound }},
			{"recipient bound", func(f attest.Facts) bool { return f.Recipient }},
			{"recipient resident in the TPM", func(f attest.Facts) bool { return f.Resident }},
			{"revocation checked", func(f attest.Facts) bool { return f.Revocation == attest.Checked }},
			{"debug off", func(f attest.Facts) bool { return !f.Debug }},
			{"no migration", func(f attest.Facts) bool { return !f.Migratable }},
		},
	},
}

func floor(res *attest.Result, door Door) error {
	rows := floorTable[res.Type][door]
	if len(rows) == 0 {
		return Refuse(Reason(attest.CheckTypeNotAllowed), "evidence type %s releases nothing through the %s door", res.Type, door)
	}
	if res.Facts.Debug {
		return Refuse(Reason(attest.CheckDebug), "floor: debug is on")
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
