package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/openskr/openskr/enclave-agent/file"
)

func newEncryptCmd(a *app) *cobra.Command {
	var name, out string
	var f keyFlags
	c := &cobra.Command{
		Use:   "encrypt FILE --key NAME --policy POLICY --out OUT",
		Short: "Encrypt a file to a new key that only evidence releases",
		Long: `Encrypt FILE under a fresh AES-256 key, keep the key in the vault as NAME with a
release policy, and forget it here. Machines that satisfy the policy decrypt OUT
with "openskr-agent decrypt OUT". The form of OUT is in docs/wire/file.md.

The key is made on this machine, so do this where the file is already readable.`,
		Args: exactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if name == "" || out == "" || f.policy == "" {
				return usagef("encrypt: --key, --policy and --out are required")
			}
			plain, err := a.input(args[0])
			if err != nil {
				return err
			}
			settings, err := f.settings(a)
			if err != nil {
				return err
			}
			return a.encrypt(cmd, plain, name, out, settings)
		},
	}
	c.Flags().StringVar(&name, "key", "", "`NAME` of the key to make (required)")
	c.Flags().StringVar(&out, "out", "", "`FILE` to write; it must not exist (required)")
	f.add(c)
	return c
}

func (a *app) encrypt(cmd *cobra.Command, plain []byte, name, out string, settings keySettings) error {
	key := make([]byte, 32)
	rand.Read(key)
	defer clear(key)
	jwk, err := privateJWK(key, true)
	if err != nil {
		return err
	}
	c, err := a.connect(cmd.Context())
	if err != nil {
		return err
	}
	// The key is in the vault before the file exists: a file that nobody can open
	// is never left behind.
	req := struct {
		Key map[string]string `json:"key"`
		keySettings
	}{jwk, settings}
	var bundle keyBundle
	if err := c.call(cmd.Context(), http.MethodPut, keyPath(name), req, &bundle); err != nil {
		return err
	}
	var sealed bytes.Buffer
	kid, _ := bundle.Key["kid"].(string)
	if err := file.Encrypt(&sealed, bytes.NewReader(plain), kid, key); err != nil {
		return err
	}
	if err := a.output(out, sealed.Bytes()); err != nil {
		return err
	}
	if a.json {
		return printJSON(a.stdout, map[string]any{"kid": kid, "out": out, "bytes": sealed.Len()})
	}
	_, err = fmt.Fprintf(a.stdout, "%s: %d bytes, opens with key %s\n", out, sealed.Len(), kid)
	return err
}
