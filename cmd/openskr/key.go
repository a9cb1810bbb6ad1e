package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/openskr/openskr/release"
)

// keyBundle is a key as Key Vault answers it, and our attested_only.
type keyBundle struct {
	Key          map[string]any    `json:"key"`
	Attributes   keyAttributes     `json:"attributes"`
	Tags         map[string]string `json:"tags,omitempty"`
	Policy       *keyPolicy        `json:"release_policy,omitempty"`
	AttestedOnly bool              `json:"attested_only,omitempty"`
}

type keyAttributes struct {
	Enabled    *bool `json:"enabled,omitempty"`
	NotBefore  int64 `json:"nbf,omitempty"`
	Expires    int64 `json:"exp,omitempty"`
	Exportable *bool `json:"exportable,omitempty"`
	Created    int64 `json:"created,omitempty"`
	Updated    int64 `json:"updated,omitempty"`
}

type keyPolicy struct {
	ContentType string `json:"contentType,omitempty"`
	Data        string `json:"data,omitempty"` // base64url
	Immutable   bool   `json:"immutable,omitempty"`
}

// keyItem is a key in a list.
type keyItem struct {
	KID        string            `json:"kid"`
	Attributes keyAttributes     `json:"attributes"`
	Tags       map[string]string `json:"tags,omitempty"`
}

func newKeyCmd(a *app) *cobra.Command {
	cmd := parent(&cobra.Command{Use: "key", Short: "Make, import and manage keys"})
	cmd.AddCommand(newKeyCreateCmd(a), newKeyImportCmd(a), newKeyListCmd(a), newKeyShowCmd(a), newKeyVersionsCmd(a),
		newKeyTagCmd(a), newKeyPolicyCmd(a),
		newKeyEnabledCmd(a, "enable", "Allow a key version to be released again", true),
		newKeyEnabledCmd(a, "disable", "Stop releases of a key version, at once", false))
	cmd.AddCommand(newKeyLossCmds(a)...)
	cmd.AddCommand(newKeyFormatCmds(a)...)
	return cmd
}

// keyPath is the URL path of a key, with query.
func keyPath(elem ...string) string { return vaultPath("keys", elem...) }

// vaultPath is a URL path of the Key Vault door, with query: below root, which is "keys",
// "deletedkeys", "secrets" or "deletedsecrets". Empty elements are left out.
func vaultPath(root string, elem ...string) string {
	p := "/" + root
	for _, e := range elem {
		if e != "" {
			p += "/" + url.PathEscape(e)
		}
	}
	return p + "?api-version=" + apiVersion
}

// keyFlags are those that create and import share.
type keyFlags struct {
	policy       string
	attestedOnly bool
	immutable    bool
	nbf, exp     string
	tags         map[string]string
}

func (f *keyFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.policy, "policy", "", "release policy `FILE`: Rego (.rego) or Azure's grammar (.json)")
	fl.BoolVar(&f.attestedOnly, "attested-only", true, "no use but release to evidence, for ever")
	fl.BoolVar(&f.immutable, "immutable", false, "the release policy can never be changed")
	fl.StringVar(&f.nbf, "nbf", "", "not released before `TIME` (RFC 3339)")
	fl.StringVar(&f.exp, "exp", "", "not released from `TIME` on (RFC 3339)")
	fl.StringToStringVar(&f.tags, "tag", nil, "label the key, repeatable (`k=v`)")
}

// keySettings is the part of a request that create and import share.
type keySettings struct {
	Attributes   keyAttributes     `json:"attributes"`
	Tags         map[string]string `json:"tags,omitempty"`
	Policy       *keyPolicy        `json:"release_policy,omitempty"`
	AttestedOnly bool              `json:"attested_only"`
}

func (f *keyFlags) settings(a *app) (keySettings, error) {
	s := keySettings{Tags: f.tags, AttestedOnly: f.attestedOnly}
	var err error
	if s.Attributes.NotBefore, err = unixFlag("--nbf", f.nbf); err != nil {
		return s, err
	}
	if s.Attributes.Expires, err = unixFlag("--exp", f.exp); err != nil {
		return s, err
	}
	exportable := f.policy != ""
	s.Attributes.Exportable = &exportable
	switch {
	case f.policy == "" && f.attestedOnly:
		return s, usagef("an attested-only key needs a release policy: --policy FILE (openskr policy list has ready ones)")
	case f.policy == "" && f.immutable:
		return s, usagef("--immutable is about a policy: give one with --policy FILE")
	case f.policy == "":
		return s, nil
	}
	s.Policy, err = readPolicy(a, f.policy, f.immutable)
	return s, err
}

// readPolicy reads a policy file; its name says its language.
func readPolicy(a *app, path string, immutable bool) (*keyPolicy, error) {
	if ext := filepath.Ext(path); ext != ".rego" && ext != ".json" {
		return nil, usagef("%s: a policy file ends in .rego, or in .json when it is in Azure's grammar", path)
	}
	b, err := a.input(path)
	if err != nil {
		return nil, err
	}
	return &keyPolicy{ContentType: policyType(path, b), Data: base64.RawURLEncoding.EncodeToString(b), Immutable: immutable}, nil
}

func unixFlag(name, value string) (int64, error) {
	if value == "" {
		return 0, nil
	}
	t, err := time.Parse(time.RFC3339, value)
	if err != nil {
		return 0, usagef("%s %q: want a time like 2027-01-31T00:00:00Z", name, value)
	}
	return t.Unix(), nil
}

func newKeyCreateCmd(a *app) *cobra.Command {
	var f keyFlags
	var kty, crv string
	var size int
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Make a key", Args: exactArgs("NAME"),
		Long: `Makes a new key, or a new version of one. The key is made in the broker and leaves
it only wrapped, to a machine whose evidence satisfies the release policy.`,
		Example: "  openskr key create disk --kty oct --size 256 --policy boot.rego",
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := f.settings(a)
			if err != nil {
				return err
			}
			if !slices.Contains([]string{"RSA", "EC", "oct"}, kty) {
				return usagef("--kty %q: want RSA, EC or oct", kty)
			}
			if (kty == "EC") != (crv != "") || kty == "EC" && size != 0 {
				return usagef("an EC key takes --crv P-256, P-384, P-521 or P-256K; RSA and oct take --size")
			}
			req := struct {
				Kty  string `json:"kty"`
				Size int    `json:"key_size,omitempty"`
				Crv  string `json:"crv,omitempty"`
				keySettings
			}{kty, size, crv, s}
			return a.keyRequest(cmd, http.MethodPost, keyPath(args[0], "create"), req)
		},
	}
	cmd.Flags().StringVar(&kty, "kty", "oct", "`KIND` of key: RSA, EC or oct")
	cmd.Flags().IntVar(&size, "size", 0, "`BITS`: RSA 2048, 3072, 4096; oct 128, 192, 256 (default: the broker's)")
	cmd.Flags().StringVar(&crv, "crv", "", "`CURVE` of an EC key: P-256, P-384, P-521, P-256K")
	f.add(cmd)
	return cmd
}

// keyRequest sends a change of a key and shows the key that came of it.
func (a *app) keyRequest(cmd *cobra.Command, method, path string, in any) error {
	c, err := a.connect(cmd.Context())
	if err != nil {
		return err
	}
	var raw []byte
	if err := c.call(cmd.Context(), method, path, in, &raw); err != nil {
		return policyHint(err)
	}
	return a.showKey(raw)
}

// policyHint names the command that explains a refused policy.
func policyHint(err error) error {
	var refusal *brokerError
	if errors.As(err, &refusal) && refusal.Reason == string(release.ReasonPolicyInvalid) {
		return fmt.Errorf("%w; `openskr policy check FILE` says the same offline", err)
	}
	return err
}

// showKey prints a key bundle. It holds no private part.
func (a *app) showKey(raw []byte) error {
	if a.json {
		return printJSON(a.stdout, json.RawMessage(raw))
	}
	var k keyBundle
	if err := json.Unmarshal(raw, &k); err != nil {
		return fmt.Errorf("the broker's answer is not a key: %w", err)
	}
	line := func(name string, value any) {
		fmt.Fprintf(a.stdout, "%-14s %s\n", name, printable(fmt.Sprint(value)))
	}
	line("kid", k.Key["kid"])
	line("kty", k.Key["kty"])
	if crv, ok := k.Key["crv"]; ok {
		line("crv", crv)
	}
	line("enabled", k.Attributes.Enabled == nil || *k.Attributes.Enabled)
	line("attested only", k.AttestedOnly)
	line("created", stamp(k.Attributes.Created))
	if k.Attributes.NotBefore != 0 {
		line("not before", stamp(k.Attributes.NotBefore))
	}
	if k.Attributes.Expires != 0 {
		line("expires", stamp(k.Attributes.Expires))
	}
	for _, name := range slices.Sorted(maps.Keys(k.Tags)) {
		line("tag "+name, k.Tags[name])
	}
	if k.Policy == nil {
		return nil
	}
	data, err := base64.RawURLEncoding.DecodeString(k.Policy.Data)
	if err != nil {
		return fmt.Errorf("the broker's answer has a policy that is not base64url: %w", err)
	}
	line("policy", fmt.Sprintf("%s, sha256 %x", k.Policy.ContentType, sha256.Sum256(data)))
	line("immutable", k.Policy.Immutable)
	fmt.Fprintln(a.stdout)
	for text := range strings.Lines(string(data)) {
		text = strings.TrimRight(strings.ReplaceAll(text, "\t", "  "), "\r\n")
		if text != "" {
			text = "    " + printable(text)
		}
		fmt.Fprintln(a.stdout, text)
	}
	return nil
}

func stamp(unix int64) string {
	if unix == 0 {
		return "-"
	}
	return time.Unix(unix, 0).UTC().Format(time.RFC3339)
}
