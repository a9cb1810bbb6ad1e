package wrap_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/openskr/openskr/attest/tpm/guest"
	"github.com/openskr/openskr/internal/swtpm"
	"github.com/openskr/openskr/release/wrap"
)

// TestOpenInTPM: what is wrapped here opens with a key whose private half never
// leaves a TPM, in each form that a TPM offers.
func TestOpenInTPM(t *testing.T) {
	if err := swtpm.Available(); err != nil {
		t.Skip(err)
	}
	s, err := swtpm.Start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	g, err := guest.Open(s.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(g.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
	for kind, enc := range map[guest.Kind]string{
		guest.Hybrid: wrap.EncHPKEMLKEM768P256, guest.P256: wrap.EncHPKEP256, guest.RSA: wrap.EncRSA256,
	} {
		t.Run(string(kind), func(t *testing.T) {
			r, err := g.NewRecipient(t.Context(), kind, guest.DefaultSelection())
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := r.Close(); err != nil {
					t.Error(err)
				}
			}()
			material, info, aad := []byte("disk key"), []byte("info"), []byte("aad")
			if _, err := (wrap.Wrapper{}).Check(r.JWK, enc); err != nil {
				t.Fatal(err)
			}
			sealed, err := (wrap.Wrapper{}).Wrap(r.JWK, enc, material, info, aad)
			if err != nil {
				t.Fatal(err)
			}
			got, err := open(t, r, sealed, info, aad)
			if err != nil || !bytes.Equal(got, material) {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func open(t *testing.T, r *guest.Recipient, sealed, info, aad []byte) ([]byte, error) {
	t.Helper()
	if r.Kind == guest.RSA {
		oaep := func(ct []byte) ([]byte, error) { return r.DecryptOAEP(t.Context(), ct) }
		return wrap.OpenRSA(oaep, r.ModulusBytes(), sealed)
	}
	sk, err := r.Private(t.Context())
	if err != nil {
		return nil, err
	}
	return wrap.OpenHPKE(sk, info, aad, sealed)
}
