package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// secretBundle is a secret as Key Vault answers it.
type secretBundle struct {
	Value       *string           `json:"value,omitempty"`
	ID          string            `json:"id"`
	ContentType string            `json:"contentType,omitempty"`
	Attributes  secretAttributes  `json:"attributes"`
	Tags        map[string]string `json:"tags,omitempty"`

	RecoveryID         string `json:"recoveryId,omitempty"` // of a deleted one
	DeletedDate        int64  `json:"deletedDate,omitempty"`
	ScheduledPurgeDate int64  `json:"scheduledPurgeDate,omitempty"`
}

type secretAttributes struct {
	Enabled   *bool `json:"enabled,omitempty"`
	NotBefore int64 `json:"nbf,omitempty"`
	Expires   int64 `json:"exp,omitempty"`
	Created   int64 `json:"created,omitempty"`
	Updated   int64 `json:"updated,omitempty"`
}

// maxSecret is Key Vault's limit of a value, in bytes.
const maxSecret = 25 << 10

func newSecretCmd(a *app) *cobra.Command {
	cmd := parent(&cobra.Command{
		Use: "secret", Short: "Keep passwords, tokens and other texts",
		Long: `Secrets are texts of at most 25 KiB. Each value that is read is a record in the log, which
is durable before the value leaves; the record has neither the value nor a digest of it.`,
	})
	cmd.AddCommand(newSecretSetCmd(a), newSecretGetCmd(a), newSecretShowCmd(a), newSecretListCmd(a), newSecretVersionsCmd(a),
		newSecretEnabledCmd(a, "enable", "Allow a secret version to be read again", true),
		newSecretEnabledCmd(a, "disable", "Stop reads of a secret version, at once", false),
		newSecretDeleteCmd(a), newSecretDeletedCmd(a), newSecretRecoverCmd(a), newSecretPurgeCmd(a),
		newObjectBackupCmd(a, "secrets", "secret"), newObjectRestoreCmd(a, "secrets", "secret"))
	return cmd
}

func newSecretSetCmd(a *app) *cobra.Command {
	var file, contentType, nbf, exp string
	var tags map[string]string
	cmd := &cobra.Command{
		Use: "set NAME", Short: "Make a secret, or a new version of one", Args: exactArgs("NAME"),
		Long: `Makes a secret, or a new version of one, of the bytes of FILE as they are: a newline at
the end belongs to the value. The value is UTF-8 text; encode anything else (base64) and
say so with --content-type. A new version takes no setting over from the one before.`,
		Example: "  openskr secret set db-password --file password.txt\n  printf %s \"$(pwgen 40 1)\" | openskr secret set db-password --file -",
		RunE: func(cmd *cobra.Command, args []string) error {
			value, err := a.secretValue(file)
			defer clear(value)
			if err != nil {
				return err
			}
			in := struct {
				Value       string            `json:"value"`
				ContentType string            `json:"contentType,omitempty"`
				Attributes  secretAttributes  `json:"attributes"`
				Tags        map[string]string `json:"tags,omitempty"`
			}{Value: string(value), ContentType: contentType, Tags: tags}
			if in.Attributes.NotBefore, err = unixFlag("--nbf", nbf); err != nil {
				return err
			}
			if in.Attributes.Expires, err = unixFlag("--exp", exp); err != nil {
				return err
			}
			return a.secretRequest(cmd, http.MethodPut, vaultPath("secrets", args[0]), in)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&file, "file", "", "value in `FILE`, - for stdin (required)")
	fl.StringVar(&contentType, "content-type", "", "what the value is, in your own `WORDS`")
	fl.StringVar(&nbf, "nbf", "", "not read before `TIME` (RFC 3339)")
	fl.StringVar(&exp, "exp", "", "not read from `TIME` on (RFC 3339)")
	fl.StringToStringVar(&tags, "tag", nil, "label the secret, repeatable (`k=v`)")
	return cmd
}

// secretValue reads one from a file and judges what the broker would.
func (a *app) secretValue(file string) ([]byte, error) {
	if file == "" {
		return nil, usagef("--file FILE is missing (- for stdin); a value on the command line could be read by others")
	}
	b, err := a.input(file)
	switch {
	case err != nil:
		return nil, err
	case len(b) == 0:
		err = usagef("%s is empty", file)
	case len(b) > maxSecret:
		err = usagef("%s has %d bytes, a secret has at most %d", file, len(b), maxSecret)
	case !utf8.Valid(b):
		err = usagef("%s is not UTF-8 text; encode it first (base64)", file)
	}
	return b, err
}

// secretRequest sends a change of a secret and shows the secret that came of it,
// without the value that the broker answers.
func (a *app) secretRequest(cmd *cobra.Command, method, path string, in any) error {
	c, err := a.connect(cmd.Context())
	if err != nil {
		return err
	}
	var s secretBundle
	if err := c.call(cmd.Context(), method, path, in, &s); err != nil {
		return err
	}
	s.Value = nil
	return a.showSecret(s)
}

func (a *app) showSecret(s secretBundle) error {
	if a.json {
		return printJSON(a.stdout, s)
	}
	line := func(name string, value any) {
		fmt.Fprintf(a.stdout, "%-14s %s\n", name, printable(fmt.Sprint(value)))
	}
	line("id", s.ID)
	line("content type", s.ContentType)
	line("enabled", s.Attributes.Enabled == nil || *s.Attributes.Enabled)
	line("created", stamp(s.Attributes.Created))
	if at := s.Attributes.NotBefore; at != 0 {
		line("not before", stamp(at))
	}
	if at := s.Attributes.Expires; at != 0 {
		line("expires", stamp(at))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Tags)) {
		line("tag "+name, s.Tags[name])
	}
	if s.DeletedDate != 0 {
		line("deleted", stamp(s.DeletedDate))
		line("purged from", stamp(s.ScheduledPurgeDate))
	}
	return nil
}

func newSecretGetCmd(a *app) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use: "get NAME [VERSION]", Short: "Print the value of a secret", Args: nameAndVersion,
		Long:    "Prints the value as it is, without a newline of its own. Reading it is a record in the log.",
		Example: "  openskr secret get db-password --out password.txt",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			var raw []byte
			if err := c.call(cmd.Context(), http.MethodGet, vaultPath("secrets", args...), nil, &raw); err != nil {
				return err
			}
			defer clear(raw)
			var s secretBundle
			if json.Unmarshal(raw, &s) != nil || s.Value == nil { // the error would quote the value
				return errors.New("the broker's answer is not a secret with its value")
			}
			if a.json {
				return printJSON(a.stdout, s)
			}
			return a.output(out, []byte(*s.Value))
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "new `FILE` for the value (default: stdout)")
	return cmd
}
