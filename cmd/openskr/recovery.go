package main

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/openskr/openskr/attest"
	v1 "github.com/openskr/openskr/internal/api/v1"
	"github.com/openskr/openskr/internal/deployment"
)

func newRecoveryCmd(a *app) *cobra.Command {
	cmd := parent(&cobra.Command{
		Use: "recovery", Short: "Prove that the deployment can be recovered",
		Long: `The key that protects everything is kept wrapped to at least two recovery recipients
(age); the identity of any one opens it. No key is made before one has been tried.`,
	})
	cmd.AddCommand(newRecoveryStatusCmd(a), newRecoveryDrillCmd(a))
	return cmd
}

func newRecoveryStatusCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show the recipients and the last drill", Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			var s deployment.RecoveryStatus
			if err := c.call(cmd.Context(), http.MethodGet, "/v1/recovery", nil, &s); err != nil {
				return err
			}
			if a.json {
				return printJSON(a.stdout, map[string]any{"deployment": s.Deployment, "recipients": s.Recipients, "drilled": s.Drilled})
			}
			a.fields("deployment", s.Deployment, "last drill", stamp(s.Drilled))
			for _, r := range s.Recipients {
				a.fields("recipient", shorten(r, 60))
			}
			return nil
		},
	}
}

// shorten keeps the beginning: a post-quantum recipient has two thousand characters.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}

func newRecoveryDrillCmd(a *app) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "drill", Short: "Try a recovery identity, without a recovery", Args: exactArgs(),
		Long: `Opens the deployment key here, with the identity in FILE, answers the broker's
challenge with it and forgets it. Neither the identity nor the key leaves this machine.
The success is a record.`,
		Example: "  openskr recovery drill --identity /media/usb/recovery-1.txt",
		RunE: func(cmd *cobra.Command, _ []string) error {
			identities, err := a.identities(file)
			if err != nil {
				return err
			}
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			var s deployment.RecoveryStatus
			if err := c.call(cmd.Context(), http.MethodGet, "/v1/recovery", nil, &s); err != nil {
				return err
			}
			proof, err := deployment.DrillProof(s.Wrap, s.Challenge, identities...)
			if err != nil {
				return refused(err)
			}
			if err := c.call(cmd.Context(), http.MethodPost, "/v1/recovery/drill", v1.DrillBody{Proof: attest.Bytes(proof)}, nil); err != nil {
				return err
			}
			if a.json {
				return printJSON(a.stdout, map[string]any{"drilled": true, "deployment": s.Deployment})
			}
			_, err = fmt.Fprintf(a.stdout, "this identity recovers deployment %s\n", printable(s.Deployment))
			return err
		},
	}
	cmd.Flags().StringVar(&file, "identity", "", "`FILE` with a recovery identity (age), - for stdin")
	return cmd
}

// identities reads age identities. Its errors never quote the file.
func (a *app) identities(path string) ([]age.Identity, error) {
	if path == "" {
		return nil, usagef("--identity FILE is missing (- for stdin)")
	}
	b, err := a.input(path)
	if err != nil {
		return nil, err
	}
	defer clear(b)
	if strings.HasPrefix(string(bytes.TrimSpace(b)), "age-encryption.org/") {
		return nil, usagef("%s is encrypted: decrypt it into a pipe, e.g. `age -d %s | openskr … --identity -`", path, path)
	}
	ids, err := age.ParseIdentities(bytes.NewReader(b))
	if err != nil {
		return nil, usagef("%s holds no age identity (a line AGE-SECRET-KEY-1… or AGE-SECRET-KEY-PQ-1…)", path)
	}
	return ids, nil
}
