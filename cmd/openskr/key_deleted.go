package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/spf13/cobra"
)

// newKeyLossCmds are the commands about losing a key and having it back.
func newKeyLossCmds(a *app) []*cobra.Command {
	return []*cobra.Command{
		{
			Use: "delete NAME", Short: "Delete a key with all its versions", Args: exactArgs("NAME"),
			Long: "Deletes a key with all its versions, at once. `openskr key recover` brings it back until the\nretention of its vault is over.",
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.keyRequest(cmd, http.MethodDelete, keyPath(args[0]), nil)
			},
		},
		{
			Use: "deleted", Short: "List deleted keys, which can be recovered", Args: exactArgs(),
			RunE: func(cmd *cobra.Command, _ []string) error { return a.listDeletedKeys(cmd) },
		},
		{
			Use: "recover NAME", Short: "Bring a deleted key back", Args: exactArgs("NAME"),
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.keyRequest(cmd, http.MethodPost, vaultPath("deletedkeys", args[0], "recover"), nil)
			},
		},
		{
			Use: "purge NAME", Short: "Destroy a deleted key now; nothing but a backup brings it back", Args: exactArgs("NAME"),
			RunE: func(cmd *cobra.Command, args []string) error {
				c, err := a.connect(cmd.Context())
				if err != nil {
					return err
				}
				return c.call(cmd.Context(), http.MethodDelete, vaultPath("deletedkeys", args[0]), nil, nil)
			},
		},
		newObjectBackupCmd(a, "keys", "key"), newObjectRestoreCmd(a, "keys", "key"),
	}
}

func (a *app) listDeletedKeys(cmd *cobra.Command) error {
	c, err := a.connect(cmd.Context())
	if err != nil {
		return err
	}
	items := []json.RawMessage{}
	if err := c.list(cmd.Context(), vaultPath("deletedkeys"), func(v json.RawMessage) error {
		items = append(items, v)
		return nil
	}); err != nil {
		return err
	}
	if a.json {
		return printJSON(a.stdout, map[string]any{"value": items})
	}
	return a.table("KID DELETED PURGED-FROM", func(line func(...any)) {
		for _, raw := range items {
			var k struct {
				KID     string `json:"kid"`
				Deleted int64  `json:"deletedDate"`
				Purge   int64  `json:"scheduledPurgeDate"`
			}
			if json.Unmarshal(raw, &k) == nil {
				line(k.KID, stamp(k.Deleted), stamp(k.Purge))
			}
		}
	})
}

// objectBackup is a backup of one key or secret.
type objectBackup struct {
	Value string `json:"value"` // base64url
}

// newObjectBackupCmd backs up one object of a collection ("keys"), called one ("key").
func newObjectBackupCmd(a *app, collection, one string) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use: "backup NAME --out FILE", Short: "Back a " + one + " up, with all its versions", Args: exactArgs("NAME"),
		Long: "Writes a " + one + " with all its versions to FILE, encrypted: only a broker of this deployment opens it,\n" +
			"and only in the vault that it is from. `openskr backup` copies the whole store.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if out == "" {
				return usagef("--out FILE is missing")
			}
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // before the broker records a backup
			if err != nil {
				return unreadable(err)
			}
			var b objectBackup
			err = c.call(cmd.Context(), http.MethodPost, vaultPath(collection, args[0], "backup"), nil, &b)
			if err == nil {
				_, err = f.WriteString(b.Value + "\n")
			}
			if err = errors.Join(err, f.Close()); err != nil {
				return errors.Join(err, os.Remove(out))
			}
			if a.json {
				return printJSON(a.stdout, map[string]string{"backup": out})
			}
			_, err = fmt.Fprintf(a.stdout, "backup in %s\n", out)
			return err
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "new `FILE`")
	return cmd
}

// newObjectRestoreCmd restores what newObjectBackupCmd wrote.
func newObjectRestoreCmd(a *app, collection, one string) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "restore --file FILE", Short: "Restore a " + one + " from a backup, under its own name", Args: exactArgs(),
		Long: "Restores a " + one + " with its versions and their ids, when its name is free. What the broker still knows\n" +
			"of it, a later policy or that a version was disabled, holds after the restore too.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return usagef("--file FILE is missing (- for stdin)")
			}
			b, err := a.input(file)
			if err != nil {
				return err
			}
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			var raw []byte
			if err := c.call(cmd.Context(), http.MethodPost, vaultPath(collection, "restore"), objectBackup{Value: string(bytes.TrimSpace(b))}, &raw); err != nil {
				return err
			}
			if collection == "keys" {
				return a.showKey(raw)
			}
			return printJSON(a.stdout, json.RawMessage(raw))
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "`FILE` that backup wrote")
	return cmd
}
