package main

import (
	"fmt"
	"maps"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
)

func newKeyTagCmd(a *app) *cobra.Command {
	var remove []string
	cmd := &cobra.Command{
		Use: "tag NAME [NAME=VALUE…]", Short: "Add, change or remove tags of a key",
		Long: `Changes tags of the latest version of a key, or of --version; those that are not named stay.
Release policies read tags, and machines get them with the key, under the broker's signature:
the tag luks-header says which header a disk must have (see openskr-agent seal-disk).`,
		Example: "  openskr key tag disk luks-header=sha256:…\n  openskr key tag disk --remove owner",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 || len(remove) > 0 && len(args) == 1 {
				args = args[:1]
				return exactArgs("NAME")(cmd, args)
			}
			return exactArgs("NAME", "NAME=VALUE")(cmd, args)
		},
	}
	version := cmd.Flags().String("version", "", "`VERSION` of the key (default: the latest)")
	cmd.Flags().StringSliceVar(&remove, "remove", nil, "remove this tag, repeatable (`NAME`)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		set := map[string]string{}
		for _, arg := range args[1:] {
			name, value, ok := strings.Cut(arg, "=")
			if !ok || name == "" {
				return usagef("%q: want NAME=VALUE", arg)
			}
			set[name] = value
		}
		return a.retag(cmd, keyPath(args[0], *version), set, remove)
	}
	return cmd
}

// retag reads the tags first: the Key Vault protocol knows only all of them at once.
func (a *app) retag(cmd *cobra.Command, path string, set map[string]string, remove []string) error {
	c, err := a.connect(cmd.Context())
	if err != nil {
		return err
	}
	var k keyBundle
	if err := c.call(cmd.Context(), http.MethodGet, path, nil, &k); err != nil {
		return err
	}
	tags := map[string]string{}
	maps.Copy(tags, k.Tags)
	for _, name := range remove {
		if _, ok := tags[name]; !ok {
			return fmt.Errorf("the key has no tag %q; `openskr key show` lists its tags", name)
		}
		delete(tags, name)
	}
	maps.Copy(tags, set)
	var raw []byte
	if err := c.call(cmd.Context(), http.MethodPatch, path, map[string]any{"tags": tags}, &raw); err != nil {
		return err
	}
	return a.showKey(raw)
}

func newKeyPolicyCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "policy NAME FILE", Short: "Replace the release policy of a key", Args: exactArgs("NAME", "FILE"),
		Long: `Replaces the release policy of the latest version of a key, or of --version, unless the present
one is immutable. FILE is Rego (.rego) or Azure's grammar (.json). The next release is decided by
the new policy; openskr policy check tries it before.`,
		Example: "  openskr key policy disk boot-uki.rego",
	}
	version := cmd.Flags().String("version", "", "`VERSION` of the key (default: the latest)")
	immutable := cmd.Flags().Bool("immutable", false, "the release policy can never be changed again")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p, err := readPolicy(a, args[1], *immutable)
		if err != nil {
			return err
		}
		return a.keyRequest(cmd, http.MethodPatch, keyPath(args[0], *version), map[string]any{"release_policy": p})
	}
	return cmd
}
