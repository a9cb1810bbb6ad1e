package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
)

func newKeyListCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List keys", Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.listKeys(cmd, keyPath())
		},
	}
}

func newKeyVersionsCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "versions NAME", Short: "List the versions of a key", Args: exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.listKeys(cmd, keyPath(args[0], "versions"))
		},
	}
}

func (a *app) listKeys(cmd *cobra.Command, path string) error {
	c, err := a.connect(cmd.Context())
	if err != nil {
		return err
	}
	items := []json.RawMessage{}
	if err := c.list(cmd.Context(), path, func(v json.RawMessage) error {
		items = append(items, v)
		return nil
	}); err != nil {
		return err
	}
	if a.json {
		return printJSON(a.stdout, map[string]any{"value": items})
	}
	return a.table("KID ENABLED NOT-BEFORE EXPIRES UPDATED", func(line func(...any)) {
		for _, raw := range items {
			var k keyItem
			if json.Unmarshal(raw, &k) == nil {
				t := k.Attributes
				line(k.KID, t.Enabled == nil || *t.Enabled, stamp(t.NotBefore), stamp(t.Expires), stamp(t.Updated))
			}
		}
	})
}

func newKeyShowCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "show NAME [VERSION]", Short: "Show a key and its release policy; never its private part", Args: nameAndVersion,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.keyRequest(cmd, http.MethodGet, keyPath(args...), nil)
		},
	}
}

func newKeyEnabledCmd(a *app, verb, short string, enabled bool) *cobra.Command {
	return &cobra.Command{
		Use: verb + " NAME [VERSION]", Short: short, Args: nameAndVersion,
		Long: short + ". Without VERSION: the latest one.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.keyRequest(cmd, http.MethodPatch, keyPath(args...), map[string]any{"attributes": keyAttributes{Enabled: &enabled}})
		},
	}
}

func nameAndVersion(cmd *cobra.Command, args []string) error {
	if len(args) == 2 {
		args = args[:1]
	}
	return exactArgs("NAME")(cmd, args)
}

func newKeyImportCmd(a *app) *cobra.Command {
	var f keyFlags
	var file string
	cmd := &cobra.Command{
		Use: "import NAME", Short: "Import a key", Args: exactArgs("NAME"),
		Long: `Imports a private key. FILE is PEM (PKCS #8, PKCS #1 or SEC 1), or with the suffix
.bin the raw bytes of a symmetric key; - reads PEM from stdin. The file is not removed:
erase it when the import is proven to work.`,
		Example: "  openskr key import signing --file key.pem --policy boot.rego",
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := f.settings(a)
			if err != nil {
				return err
			}
			if file == "" {
				return usagef("--file FILE is missing (- for stdin)")
			}
			b, err := a.input(file)
			if err != nil {
				return err
			}
			defer clear(b)
			jwk, err := privateJWK(b, strings.HasSuffix(file, ".bin"))
			if errors.Is(err, errNoPEM) {
				err = fmt.Errorf("%w: the raw bytes of a symmetric key come in a file whose name ends in .bin", err)
			}
			if err != nil {
				return unreadable(fmt.Errorf("%s: %w", file, err))
			}
			req := struct {
				Key map[string]string `json:"key"`
				keySettings
			}{jwk, s}
			return a.keyRequest(cmd, http.MethodPut, keyPath(args[0]), req)
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "private key `FILE`")
	f.add(cmd)
	return cmd
}
