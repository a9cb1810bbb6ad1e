package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/enclave-agent/ageplugin"
)

func (a *app) ageCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "age", Short: "Make recipients and identities for age",
		Long: "Makes what age (age-encryption.org) needs to encrypt files to keys of a broker and to decrypt them on\n" +
			"this machine. age finds this program by the name " + ageplugin.Program + ": a link in $PATH.",
		Args: cobra.NoArgs,
	}
	c.AddCommand(a.ageRecipientCmd(), a.ageIdentityCmd())
	return c
}

func (a *app) ageRecipientCmd() *cobra.Command {
	var file, key string
	c := &cobra.Command{
		Use: "recipient", Short: "Print the recipient that files are encrypted to",
		Long: "Prints the recipient of one version of a key, RSA or EC on P-256. --public-key needs no broker and no\n" +
			"hardware; with --key this machine gets the key released and keeps its public half alone.",
		Example: "  openskr key show files --json | openskr-workload age recipient --public-key -\n" +
			"  age -r \"$(openskr-workload age recipient --key https://vault.example/keys/files)\" plain > plain.age",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := a.ageRecipient(cmd.Context(), file, key)
			if err != nil {
				return err
			}
			return a.print(struct {
				Recipient string `json:"recipient"`
				Key       string `json:"key"`
			}{r.String(), r.Key()}, "%s\n", r)
		},
	}
	c.Flags().StringVar(&file, "public-key", "", "`FILE` with what openskr key show NAME --json prints, - for stdin")
	c.Flags().StringVar(&key, "key", "", "`URL` of the key, with a version or its latest")
	return c
}

func (a *app) ageRecipient(ctx context.Context, file, key string) (r *ageplugin.Recipient, err error) {
	if (file == "") == (key == "") {
		return nil, fmt.Errorf("%w: give --public-key FILE or --key URL", agent.ErrConfig)
	}
	if file == "" {
		return a.ageReleased(ctx, key)
	}
	var b []byte
	if file == "-" {
		b, err = io.ReadAll(io.LimitReader(a.stdin, ageplugin.MaxPublicKey+1))
	} else {
		b, err = agent.ReadBounded(file, ageplugin.MaxPublicKey)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", agent.ErrConfig, err)
	}
	return ageplugin.ParsePublicKey(b)
}

func (a *app) ageReleased(ctx context.Context, key string) (r *ageplugin.Recipient, err error) {
	ag, err := a.agent(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, ag.Close()) }()
	rel, err := ag.Key(ctx, key)
	if err != nil {
		return nil, err
	}
	r, err = ageplugin.RecipientOf(rel)
	return r, errors.Join(err, rel.Material.Close())
}

func (a *app) ageIdentityCmd() *cobra.Command {
	var key string
	c := &cobra.Command{
		Use: "identity", Short: "Print the identity that files are decrypted with",
		Long: "Prints an identity for age -i. It is no secret: it names the key, and keeps the options given here (--config,\n" +
			"--platform, --tpm, --eventlog, --simulator, --state, --recipient, --pcrs, --allow-swap), since age has no way to pass them.",
		Example: "  openskr-workload age identity --key https://vault.example/keys/files > identity.txt\n" +
			"  age -d -i identity.txt plain.age",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if key == "" {
				return fmt.Errorf("%w: give --key URL", agent.ErrConfig)
			}
			s, err := a.ageSettings(key)
			if err != nil {
				return err
			}
			id, err := s.Identity()
			if err != nil {
				return err
			}
			return a.print(struct {
				Identity string `json:"identity"`
				Key      string `json:"key"`
			}{id, key}, "# released by %s\n%s\n", key, id)
		},
	}
	c.Flags().StringVar(&key, "key", "", "`URL` of the key; without a version for files of all its versions")
	return c
}

// ageSettings are the options of this run. Paths become absolute: age starts the plugin
// in another folder.
func (a *app) ageSettings(key string) (ageplugin.Settings, error) {
	s := ageplugin.Settings{
		Key: key, Config: a.config, Platform: string(a.hardware.Platform), TPM: a.hardware.TPM, EventLog: a.hardware.EventLog,
		AKChain:   a.hardware.AKChain,
		Simulator: a.hardware.Simulator, State: a.state, PCRs: a.pcrs, AllowSwap: a.allowSwap,
	}
	if a.kind != string(agent.Hybrid) {
		s.Recipient = a.kind
	}
	for _, path := range []*string{&s.Config, &s.TPM, &s.EventLog, &s.AKChain, &s.Simulator, &s.State} {
		if *path == "" {
			continue
		}
		abs, err := filepath.Abs(*path)
		if err != nil {
			return s, fmt.Errorf("%w: %w", agent.ErrConfig, err)
		}
		*path = abs
	}
	return s, nil
}
