package tpm_test

import (
	"crypto/x509"
	"errors"
	"testing"

	"github.com/openskr/openskr/attest"
	"github.com/openskr/openskr/attest/tpm/tpmtest"
)

func caOf(m *tpmtest.Machine) []*x509.Certificate { return []*x509.Certificate{m.CA} }

func deny(answer bool) func(*x509.Certificate) bool {
	return func(*x509.Certificate) bool { return answer }
}

// wantCheck fails unless err is a Rejection with that check.
func wantCheck(t *testing.T, err error, want attest.Check) *attest.Rejection {
	t.Helper()
	var r *attest.Rejection
	if !errors.As(err, &r) {
		t.Fatalf("got %v, want a rejection with %s", err, want)
	}
	if r.Check != want {
		t.Fatalf("got %v, want %s", r, want)
	}
	return r
}
