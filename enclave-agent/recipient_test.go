package agent

import (
	"bytes"
	"errors"
	"testing"

	"github.com/openskr/openskr/attest/tpm/guest"
	"github.com/openskr/openskr/release/wrap"
)

const plain = "key material, not real"

// wrapped makes a software recipient of the kind and what it alone opens.
func wrapped(t *testing.T, kind RecipientKind) (Recipient, []byte) {
	t.Helper()
	r, err := newRecipient(kind)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := (wrap.Wrapper{}).Vet(r.JWK()); err != nil {
		t.Fatal(err)
	}
	ct, err := wrap.Wrapper{}.Wrap(r.JWK(), algorithm(kind), []byte(plain), []byte("info"), []byte("aad"))
	if err != nil {
		t.Fatal(err)
	}
	return r, ct
}

func TestSoftRecipientOpensOnce(t *testing.T) {
	for _, kind := range []RecipientKind{Hybrid, P256, RSA} {
		r, ct := wrapped(t, kind)
		got, err := r.Open(t.Context(), []byte("info"), []byte("aad"), ct)
		if err != nil || !bytes.Equal(got, []byte(plain)) {
			t.Errorf("%s: %v", kind, err)
		}
		if _, err := r.Open(t.Context(), []byte("info"), []byte("aad"), ct); !errors.Is(err, guest.ErrRecipientSpent) {
			t.Errorf("%s: second time: %v", kind, err)
		}
		if r.(*softRecipient).private.Bytes() != nil {
			t.Errorf("%s: private half is still there", kind)
		}
	}
}

// A failure uses the key up too: who sends ciphertexts gets one answer.
func TestSoftRecipientContext(t *testing.T) {
	for _, kind := range []RecipientKind{Hybrid, P256} {
		for name, c := range map[string][2]string{"info": {"other", "aad"}, "aad": {"info", "other"}, "neither": {"", ""}} {
			r, ct := wrapped(t, kind)
			if got, err := r.Open(t.Context(), []byte(c[0]), []byte(c[1]), ct); err == nil || got != nil {
				t.Errorf("%s opens with another %s", kind, name)
			}
			if _, err := r.Open(t.Context(), []byte("info"), []byte("aad"), ct); !errors.Is(err, guest.ErrRecipientSpent) {
				t.Errorf("%s: after a failure: %v", kind, err)
			}
		}
	}
	r, ct := wrapped(t, Hybrid)
	ct[len(ct)-1] ^= 1
	if _, err := r.Open(t.Context(), []byte("info"), []byte("aad"), ct); err == nil {
		t.Error("opens when bent")
	}
}

// AG-20: no key is made twice.
func TestSoftRecipientsDiffer(t *testing.T) {
	a, ct := wrapped(t, Hybrid)
	b, _ := wrapped(t, Hybrid)
	if bytes.Equal(a.JWK(), b.JWK()) {
		t.Error("two recipients are alike")
	}
	if _, err := b.Open(t.Context(), []byte("info"), []byte("aad"), ct); err == nil {
		t.Error("another recipient opens")
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if _, err := a.Open(t.Context(), []byte("info"), []byte("aad"), ct); !errors.Is(err, guest.ErrRecipientSpent) {
		t.Errorf("after Close: %v", err)
	}
}

func TestUnknownRecipientKind(t *testing.T) {
	if r, err := newRecipient("x25519"); err == nil || r != nil {
		t.Errorf("%v, %v", r, err)
	}
}
