package identity

import (
	"testing"

	"github.com/openskr/openskr/release"
)

// TestParsedIsNobodys: what one request makes of a document, no other sees.
func TestParsedIsNobodys(t *testing.T) {
	const testID = "22222222-2222-4222-8222-222222222222"
	p := newParsed()
	value, err := EncodeAssignments([]Assignment{{ID: testID, Role: RoleIdentityAdmin, Scope: Everywhere}})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		list, err := p.roles(value)
		if err != nil || len(list) != 1 {
			t.Fatalf("%v, %v", list, err)
		}
		more := append(list, Assignment{Role: "more"})
		if again, err := p.roles(value); err != nil || len(again) != 1 || cap(again) != 1 || len(more) != 2 {
			t.Errorf("%v, %v", again, err)
		}
	}
	made, err := (&Principal{ID: testID, Name: "one", Enabled: true}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	for generation := range int64(3) {
		got, err := p.principal(&release.Object{Name: testID, Value: made, Generation: generation})
		if err != nil || got.generation != generation || !got.Enabled {
			t.Fatalf("%+v, %v", got, err)
		}
		got.Enabled = false
	}
	if _, err := p.principal(&release.Object{Name: "11111111-2222-4333-8444-555555555555", Value: made}); release.ReasonOf(err) != release.ReasonIntegrity {
		t.Errorf("another principal's row: %v", err)
	}
}
