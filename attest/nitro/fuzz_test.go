package nitro

import (
	"testing"
	"time"

	"github.com/openskr/openskr/attest"
)

// FuzzDocument sends documents whose certificates nobody can sign: none passes, and
// none of them stops the verifier.
func FuzzDocument(f *testing.F) {
	v, err := New(Config{})
	if err != nil {
		f.Fatal(err)
	}
	root := v.cfg.Roots[0].Raw
	f.Add([]byte("\x84\x44\xa1\x01\x38\x22\xa0\x40\x40"))
	f.Add([]byte("\xd2\x84\x44\xa1\x01\x38\x22\xa0\x41\xbf\x40"))
	f.Add(root)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, rej := v.authenticate(b, time.Unix(1762795210, 0)); rej == nil || rej.Check == attest.CheckInternal {
			t.Fatalf("%v", rej)
		}
	})
}

// FuzzPayload reads payloads, which an NSM signs but a stranger may send first.
func FuzzPayload(f *testing.F) {
	f.Add([]byte("\xbf\x69module_id\x61a\xff"))
	f.Add([]byte("\xa1\x64pcrs\xbf\x00\x58\x20" + string(make([]byte, 32)) + "\xff"))
	f.Add([]byte("\xa1\x68cabundle\x9f\x41a\x41b\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := parsePayload(b)
		if err != nil {
			return
		}
		if d.moduleID == "" || d.pcrs[0] == nil || d.pcrs[1] == nil || d.pcrs[2] == nil || len(d.pcrs) > maxPCRs || len(d.bundle) == 0 {
			t.Fatalf("accepted without what is required: %+v", d)
		}
	})
}
