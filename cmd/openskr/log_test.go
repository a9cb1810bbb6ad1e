package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openskr/openskr/release/receipt"
)

// A receipt with a genuine checkpoint still has to prove its own leaf.
func TestVerifyReceipt(t *testing.T) {
	b := newFakeBroker(t)
	h, err := pinned([]byte(b.ca))
	if err != nil {
		t.Fatal(err)
	}
	c := &client{base: b.url, token: fakeToken, http: h}
	dir := t.TempDir()
	vkey := filepath.Join(dir, "vkey")
	write(t, vkey, []byte(b.log.vkey))
	for _, test := range []struct {
		name   string
		change func(*receipt.Receipt)
		code   int
	}{
		{"as it is", func(*receipt.Receipt) {}, codeDone},
		{"leaf of another entry", func(r *receipt.Receipt) { r.Leaf = b.log.leaves[2] }, codeRefused},
		{"another index", func(r *receipt.Receipt) { r.Index = 2 }, codeRefused},
		{"index outside", func(r *receipt.Receipt) { r.Index = 4 }, codeRefused},
		{"a bit of the path", func(r *receipt.Receipt) { r.Path[0][0] ^= 1 }, codeRefused},
		{"no path", func(r *receipt.Receipt) { r.Path = nil }, codeRefused},
		{"a bit of the leaf", func(r *receipt.Receipt) { r.Leaf[len(r.Leaf)-3] ^= 1 }, codeRefused},
		{"a larger log", func(r *receipt.Receipt) { r.Checkpoint = strings.Replace(r.Checkpoint, "\n4\n", "\n5\n", 1) }, codeRefused},
	} {
		r, err := c.prove(t.Context(), 3)
		if err != nil {
			t.Fatal(err)
		}
		r.Leaf = append([]byte(nil), r.Leaf...)
		test.change(r)
		raw, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "receipt.json")
		write(t, file, raw)
		if code, stdout, stderr := call(t, "log", "verify", "--receipt", file, "--vkey", vkey); code != test.code {
			t.Errorf("%s: exit %d, want %d\n%s%s", test.name, code, test.code, stdout, stderr)
		}
	}
}

// A broker whose entries are not those of its checkpoint, or of an older one
// that was kept, is found out.
func TestVerifyOnline(t *testing.T) {
	b := newFakeBroker(t)
	dir := t.TempDir()
	vkey, cred, old := filepath.Join(dir, "vkey"), filepath.Join(dir, "cred"), filepath.Join(dir, "old")
	write(t, vkey, []byte(b.log.vkey))
	write(t, old, []byte(b.log.note))
	raw, err := json.Marshal(credential{Broker: b.url, ClientID: fakeClient, ClientSecret: fakeSecret, CA: b.ca})
	if err != nil {
		t.Fatal(err)
	}
	write(t, cred, raw)
	verify := func() (int, string) {
		code, stdout, stderr := call(t, "--json", "--credential", cred, "log", "verify", "--vkey", vkey, "--checkpoint", old)
		return code, stdout + stderr
	}
	if code, text := verify(); code != codeDone {
		t.Fatalf("exit %d\n%s", code, text)
	}
	genuine := b.log.leaves[3]
	b.log.leaves[3] = []byte(strings.Replace(string(genuine), "policy_denied", "policy_error", 1))
	if code, text := verify(); code != codeRefused || !strings.Contains(text, `"verified":false`) {
		t.Errorf("rewritten entry: exit %d\n%s", code, text)
	}
	b.log.leaves[3] = b.log.leaves[2]
	if code, text := verify(); code != codeRefused {
		t.Errorf("repeated entry: exit %d\n%s", code, text)
	}
	b.log.leaves = b.log.leaves[:3]
	if code, text := verify(); code == codeDone {
		t.Errorf("missing entry: exit %d\n%s", code, text)
	}
}
