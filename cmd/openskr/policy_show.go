package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/openskr/openskr/policies"
	"github.com/openskr/openskr/release"
)

func newPolicyShowCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "show NAME|FILE|KEY", Short: "Print a policy, and the Rego that Azure's grammar becomes", Args: exactArgs("NAME|FILE|KEY"),
		Long: `Prints a ready policy by its NAME, to use or to copy; or the policy in FILE (with a dot
or a slash in its name, - for standard input); or that of KEY at the broker. A policy
in Azure's JSON grammar is followed by the Rego it becomes, which is what decides.`,
		Example: "  openskr policy show tpm-secureboot-pcr > boot.rego\n  openskr policy show skr-policy.json\n  openskr policy show disk",
		RunE: func(cmd *cobra.Command, args []string) error {
			i := slices.IndexFunc(policies.Library(), func(p policies.Ready) bool { return p.Name == args[0] })
			switch {
			case i >= 0:
				return a.showReady(policies.Library()[i])
			case args[0] == "-" || strings.ContainsAny(args[0], "./"+string(os.PathSeparator)):
				src, err := a.input(args[0])
				if err != nil {
					return err
				}
				return a.showPolicy(policyType(args[0], src), src)
			}
			return a.showPolicyOf(cmd, args[0])
		},
	}
}

// policyType gives the content type of a policy file: by its ending, or by how it
// begins, since no Rego begins with a brace.
func policyType(path string, src []byte) string {
	ext := filepath.Ext(path)
	if ext == ".json" || ext != ".rego" && bytes.HasPrefix(bytes.TrimLeft(src, " \t\r\n"), []byte("{")) {
		return release.ContentTypeJSON
	}
	return release.ContentTypeRego
}

func (a *app) showReady(p policies.Ready) error {
	if a.json {
		return printJSON(a.stdout, map[string]string{
			"name": p.Name, "title": p.Title, "threat": p.Threat, "source": string(p.Source), "sha256": fmt.Sprintf("%x", p.Digest),
		})
	}
	_, err := a.stdout.Write(p.Source)
	return err
}

// showPolicyOf shows the policy of a key at the broker.
func (a *app) showPolicyOf(cmd *cobra.Command, key string) error {
	c, err := a.connect(cmd.Context())
	if err != nil {
		return fmt.Errorf("%q is no ready policy (`openskr policy list`) and no file; as a key: %w", key, err)
	}
	var k keyBundle
	if err := c.call(cmd.Context(), http.MethodGet, keyPath(key), nil, &k); err != nil {
		return err
	}
	if k.Policy == nil {
		return fmt.Errorf("key %s has no release policy: it is never released", key)
	}
	src, err := base64.RawURLEncoding.DecodeString(k.Policy.Data)
	if err != nil {
		return fmt.Errorf("the broker's answer has a policy that is not base64url: %w", err)
	}
	return a.showPolicy(k.Policy.ContentType, src)
}

func (a *app) showPolicy(contentType string, src []byte) error {
	out := map[string]string{"content_type": contentType, "source": string(src), "sha256": fmt.Sprintf("%x", sha256.Sum256(src))}
	if contentType == release.ContentTypeJSON {
		rego, err := policies.FromJSON(src)
		if err != nil {
			return refused(err)
		}
		out["rego"] = string(rego)
	}
	if a.json {
		return printJSON(a.stdout, out)
	}
	a.printSource(out["source"])
	if out["rego"] != "" {
		fmt.Fprintln(a.stdout)
		a.printSource(out["rego"])
	}
	return nil
}

// printSource prints text that others wrote: nothing in it moves the cursor.
func (a *app) printSource(text string) {
	for line := range strings.Lines(text) {
		text := strings.TrimLeft(line, "\t")
		indent := line[:len(line)-len(text)]
		if text = strings.TrimRight(text, "\r\n"); text != "" {
			text = printable(text)
		}
		fmt.Fprintln(a.stdout, indent+text)
	}
}
