package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
)

// blob encrypts one in the format of Azure's storage SDKs with the public half of a key,
// as one who writes to a container would, and decrypts it on the machine.
func (d *demo) blob(ctx context.Context) (string, error) {
	plain := bytes.Repeat([]byte("2026-11-22T12:00:00Z,sensor-7,21.5\n"), 1<<17)
	if err := os.WriteFile(d.path("readings.csv"), plain, 0o600); err != nil {
		return "", err
	}
	text, made, err := d.ask(ctx, d.self, "key", "create", "demo-blob", "--kty", "RSA", "--policy", d.path("boot.rego"))
	if err != nil {
		return text, err
	}
	kid, _, _ := strings.Cut(made, "\n") // the policy was shown already
	text += "\n" + kid + "\n"
	show, public, err := d.ask(ctx, d.self, "key", "show", "demo-blob", "--json")
	if err != nil {
		return text, err
	}
	if err := os.WriteFile(d.path("demo-blob.json"), []byte(public), 0o600); err != nil {
		return text, err
	}
	text += show + d.paint("33", " > …/demo-blob.json") + "\n"
	enc, err := d.run(ctx, 0, d.workload, "encrypt", d.path("readings.csv"), "--public-key", d.path("demo-blob.json"))
	if text += enc; err != nil {
		return text, err
	}
	dec, err := d.run(ctx, 0, d.workload, d.agentArgs("decrypt", d.path("readings.csv.cse"), d.path("copy.csv"))...)
	if text += dec; err != nil {
		return text, err
	}
	got, err := os.ReadFile(d.path("copy.csv"))
	if err == nil && !bytes.Equal(got, plain) {
		err = errors.New("the decrypted blob differs")
	}
	return text, err
}
