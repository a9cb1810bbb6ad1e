package agent

import (
	"bytes"
	"errors"
	"testing"

	"github.com/openskr/openskr/attest/binding"
	"github.com/openskr/openskr/enclave-agent/agenttest"
	"github.com/openskr/openskr/release/receipt"
)

func TestToken(t *testing.T) {
	b := agenttest.Start(t)
	var purposes []string
	b.Verify = func(req *binding.ReleaseRequest) error {
		rd, err := binding.Parse(req.RuntimeData)
		if err == nil {
			purposes = append(purposes, rd.Purpose+" "+rd.Vault+rd.Key)
		}
		return err
	}
	a := newAgent(t, b, nil)
	r, err := a.Token(t.Context(), agenttest.VaultURL)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(r.Material.Bytes(), b.Material) || r.KID != agenttest.VaultURL || r.Record.Kind != receipt.KindToken {
		t.Errorf("%+v", r)
	}
	if len(purposes) != 1 || purposes[0] != "token "+agenttest.VaultURL {
		t.Errorf("the hardware signed for %q", purposes)
	}
	if err := r.Material.Close(); err != nil {
		t.Error(err)
	}
	for _, url := range []string{"", "vault.example", "http://vault.example", "https://", "https://vault.example/", agenttest.KeyURL, "https://u@vault.example", "https://vault.example?a"} {
		if _, err := a.Token(t.Context(), url); !errors.Is(err, ErrConfig) {
			t.Errorf("%q: %v", url, err)
		}
	}
}

// TestTokenLies: what answers a request for a token is about that token.
func TestTokenLies(t *testing.T) {
	b := agenttest.Start(t)
	a := newAgent(t, b, nil)
	for name, l := range map[string]struct {
		check string
		tell  func()
	}{
		"a release":       {"kind", func() { b.Record = func(r *receipt.Record) { r.Kind = receipt.KindRelease } }},
		"denied":          {"decision", func() { b.Record = func(r *receipt.Record) { r.Decision = receipt.Deny } }},
		"of another":      {"vault", func() { b.Response = func(r *receipt.Response) { r.KID = "https://other.example" } }},
		"no vault":        {"vault", func() { b.Record = func(r *receipt.Record) { r.Vault = "" } }},
		"of an object":    {"object", func() { b.Record = func(r *receipt.Record) { r.Object = "disk" } }},
		"of an object id": {"object", func() { b.Record = func(r *receipt.Record) { r.ObjectID = "o" } }},
		"of a version":    {"object", func() { b.Record = func(r *receipt.Record) { r.Version = agenttest.Version } }},
		"with a policy":   {"policy", func() { b.Record = func(r *receipt.Record) { r.Policy = receipt.Digest{1} } }},
		"other nonce":     {"nonce", func() { b.Record = func(r *receipt.Record) { r.Nonce[0] ^= 1 } }},
		"other recipient": {"recipient", func() { b.Record = func(r *receipt.Record) { r.Recipient[0] ^= 1 } }},
	} {
		b.Record, b.Response = nil, nil
		l.tell()
		r, err := a.Token(t.Context(), agenttest.VaultURL)
		var found *Invalid
		if !errors.As(err, &found) || found.Check != l.check || r != nil {
			t.Errorf("%s: %v, want check %s", name, err, l.check)
		}
	}
	// The record of a token is none of a key.
	b.Response, b.Record = nil, func(r *receipt.Record) { r.Kind = receipt.KindToken }
	var found *Invalid
	if _, err := a.Key(t.Context(), agenttest.KeyURL); !errors.As(err, &found) || found.Check != "kind" {
		t.Errorf("a key by the record of a token: %v", err)
	}
}
