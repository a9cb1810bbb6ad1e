package release

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/openskr/openskr/attest"
)

// met is a result that just meets the floor of a TPM at the native door.
func met() *attest.Result {
	return &attest.Result{
		Type: attest.TypeTPM, Recipient: []byte("{}"),
		Facts: attest.Facts{Chain: true, Signature: true, Bound: true, Recipient: true, Resident: true, Revocation: attest.Checked},
	}
}

// TestFloor is TP-01, TP-02, TP-09 and TP-22: no policy is asked.
func TestFloor(t *testing.T) {
	if err := floor(met(), DoorNative, false); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		spoil  func(*attest.Result)
		reason Reason
	}{
		"chain":                  {func(r *attest.Result) { r.Facts.Chain = false }, ReasonFloor},
		"signature":              {func(r *attest.Result) { r.Facts.Signature = false }, ReasonFloor},
		"bound":                  {func(r *attest.Result) { r.Facts.Bound = false }, ReasonFloor},
		"recipient":              {func(r *attest.Result) { r.Facts.Recipient = false }, ReasonFloor},
		"resident":               {func(r *attest.Result) { r.Facts.Resident = false }, ReasonFloor},
		"revocation not checked": {func(r *attest.Result) { r.Facts.Revocation = attest.NotChecked }, ReasonFloor},
		"revocation unknown":     {func(r *attest.Result) { r.Facts.Revocation = attest.Unknown }, ReasonFloor},
		"revocation empty":       {func(r *attest.Result) { r.Facts.Revocation = "" }, ReasonFloor},
		"migratable":             {func(r *attest.Result) { r.Facts.Migratable = true }, Reason(attest.CheckMigration)},
		"debug":                  {func(r *attest.Result) { r.Facts.Debug = true }, Reason(attest.CheckDebug)},
		"nothing proven":         {func(r *attest.Result) { r.Facts = attest.Facts{} }, ReasonFloor},
		"no recipient key":       {func(r *attest.Result) { r.Recipient = nil }, Reason(attest.CheckNoRecipient)},
		"unknown type":           {func(r *attest.Result) { r.Type = "cca" }, Reason(attest.CheckTypeNotAllowed)},
		"no type":                {func(r *attest.Result) { r.Type = "" }, Reason(attest.CheckTypeNotAllowed)},
		"type in capitals":       {func(r *attest.Result) { r.Type = "TPM" }, Reason(attest.CheckTypeNotAllowed)},
		"simulated":              {func(r *attest.Result) { r.Type = "simulated-tpm" }, Reason(attest.CheckTypeNotAllowed)},
		"TCB unknown":            {func(r *attest.Result) { r.Facts.TCBStatus = attest.TCBUnknown }, Reason(attest.CheckTCBUnknown)},
		"TCB revoked":            {func(r *attest.Result) { r.Facts.TCBStatus = attest.TCBRevoked }, Reason(attest.CheckTCBRevoked)},
	} {
		r := met()
		c.spoil(r)
		if err := floor(r, DoorNative, false); err == nil || ReasonOf(err) != c.reason {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, door := range []Door{DoorKeyVault, "", "Native"} {
		if err := floor(met(), door, false); ReasonOf(err) != Reason(attest.CheckTypeNotAllowed) || err == nil {
			t.Errorf("door %q: %v", door, err)
		}
	}
}

// TestFloorTCB: a type whose vendor rates platforms needs a rating.
func TestFloorTCB(t *testing.T) {
	for _, typ := range []attest.Type{attest.TypeTDX, attest.TypeSGX} {
		r := met()
		r.Type = typ
		if err := floor(r, DoorNative, false); ReasonOf(err) != ReasonFloor {
			t.Errorf("%s without a TCB status: %v", typ, err)
		}
		r.Facts.TCBStatus = "OutOfDate" // a policy's business
		if err := floor(r, DoorNative, false); err != nil {
			t.Errorf("%s: %v", typ, err)
		}
	}
}

// TestFloorSimulated: simulated evidence meets the floor of the type it plays, in a
// simulation only.
func TestFloorSimulated(t *testing.T) {
	r := met()
	r.Type = attest.TypeSNP.Simulated()
	if err := floor(r, DoorNative, true); err != nil {
		t.Error(err)
	}
	if err := floor(r, DoorNative, false); ReasonOf(err) != Reason(attest.CheckTypeNotAllowed) {
		t.Errorf("outside a simulation: %v", err)
	}
	r.Facts.Debug = true
	if err := floor(r, DoorNative, true); ReasonOf(err) != Reason(attest.CheckDebug) {
		t.Errorf("debug in a simulation: %v", err)
	}
}

// TestFloorRows: each row of the table is needed by itself, so that none can be
// dropped unseen, and every fact that can be false is asked for.
func TestFloorRows(t *testing.T) {
	const facts = 7 // rows of every type: Chain … Migratable of attest.Facts
	if len(always) != facts {
		t.Errorf("%d rows, this test knows %d: keep docs/floor.md and both tables in step", len(always), facts)
	}
	for typ, doors := range floorTable {
		rows := doors[DoorNative]
		if len(rows) < facts {
			t.Errorf("%s: %d rows, every type has %d", typ, len(rows), facts)
		}
		good := met().Facts
		good.TCBStatus = attest.TCBUpToDate
		for _, row := range rows {
			if row.holds(attest.Facts{Debug: true, Migratable: true, TCBStatus: attest.TCBUnknown}) {
				t.Errorf("%s: %s holds when nothing is proven", typ, row.name)
			}
			if !row.holds(good) {
				t.Errorf("%s: %s does not hold for a good result", typ, row.name)
			}
		}
	}
	// On a token everything holds that holds of evidence, but for a request of its own.
	if rows := floorTable[attest.TypeToken][DoorKeyVault]; len(rows) != facts {
		t.Errorf("token, keyvault: %d rows", len(rows))
	}
	for typ, doors := range floorTable {
		if typ != attest.TypeToken && doors[DoorKeyVault] != nil {
			t.Errorf("%s: evidence itself is taken by the Key Vault door", typ)
		}
	}
	bools := 0
	for i := range reflect.TypeFor[attest.Facts]().NumField() {
		if reflect.TypeFor[attest.Facts]().Field(i).Type.Kind() == reflect.Bool {
			bools++
		}
	}
	if bools != facts { // Revocation is none of them, Resident is
		t.Errorf("attest.Facts has %d yes-or-no facts, the floor asks for %d: is a new one needed?", bools, facts)
	}
}

// TestFloorDocument: docs/floor.md names every row.
func TestFloorDocument(t *testing.T) {
	doc, err := os.ReadFile("../docs/floor.md")
	if err != nil {
		t.Fatal(err)
	}
	for typ, doors := range floorTable {
		for door, rows := range doors {
			heading := "## " + string(typ) + ", " + string(door)
			_, section, ok := strings.Cut(string(doc), heading)
			if !ok {
				t.Errorf("docs/floor.md has no %q", heading)
			}
			section, _, _ = strings.Cut(section, "\n## ")
			for _, row := range rows {
				if !strings.Contains(section, "| "+row.name+" |") {
					t.Errorf("docs/floor.md, %s: no row %q", heading, row.name)
				}
			}
		}
	}
}
