package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"

	"github.com/spf13/cobra"

	"github.com/openskr/openskr/enclave-agent/file"
)

func newEncryptCmd(a *app) *cobra.Command {
	var name, out string
	var f keyFlags
	c := &cobra.Command{
		Use:   "encrypt FILE --key NAME --policy POLICY",
		Short: "Encrypt a file to a new key that only evidence releases",
		Long: `Encrypt FILE under a fresh AES-256 key, keep the key in the vault as NAME with a
release policy, and forget it here. Machines that satisfy the policy decrypt OUT
with "openskr-agent decrypt OUT". OUT is FILE.skr unless --out names it; its form is in docs/wire/file.md.

The key is made on this machine, so do this where the file is already readable.`,
		Args:    exactArgs("FILE"),
		Example: "  openskr encrypt secret.txt --key web-secret --policy boot.rego",
		RunE: func(cmd *cobra.Command, args []string) error {
			if name == "" || f.policy == "" {
				return usagef("encrypt: --key and --policy are required")
			}
			if out == "" && args[0] == "-" {
				return usagef("encrypt: --out is required for what comes from stdin")
			}
			if out == "" {
				out = args[0] + ".skr"
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
	c.Flags().StringVar(&out, "out", "", "`FILE` to write, which must not exist; - is stdout (default FILE.skr)")
	f.add(c)
	return c
}

func (a *app) encrypt(cmd *cobra.Command, plain []byte, name, out string, settings keySettings) (err error) {
	// The file has its place before the key is in the vault, and its text after: an
	// import that was for nothing, and a file that nobody can open, are never left.
	w, done, err := a.reserve(out)
	if err != nil {
		return err
	}
	defer func() { err = done(err) }()
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
	req := struct {
		Key map[string]string `json:"key"`
		keySettings
	}{jwk, settings}
	var bundle keyBundle
	if err := c.call(cmd.Context(), http.MethodPut, keyPath(name), req, &bundle); err != nil {
		return policyHint(err)
	}
	var sealed bytes.Buffer
	kid, _ := bundle.Key["kid"].(string)
	if err := file.Encrypt(&sealed, bytes.NewReader(plain), kid, key); err != nil {
		return err
	}
	if _, err := w.Write(sealed.Bytes()); err != nil {
		return fmt.Errorf("%w; the key %s was made and has nothing to open", err, kid)
	}
	tell := a.stdout
	if out == "-" {
		tell = a.stderr
	}
	if a.json {
		return printJSON(tell, map[string]any{"kid": kid, "out": out, "bytes": sealed.Len()})
	}
	_, err = fmt.Fprintf(tell, "%s: %d bytes, opens with key %s\n", out, sealed.Len(), kid)
	return err
}

// reserve opens a new file, or stdout for "-"; done closes it, and removes it when
// the work on it failed.
func (a *app) reserve(path string) (w io.Writer, done func(error) error, err error) {
	if path == "-" {
		return a.stdout, func(err error) error { return err }, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, nil, usagef("%s exists: nothing is overwritten; name another with --out", path)
	}
	if err != nil {
		return nil, nil, err
	}
	return f, func(err error) error {
		if err = errors.Join(err, f.Close()); err != nil {
			_ = os.Remove(path)
		}
		return err
	}, nil
}
