package main

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/openskr/openskr/internal/deployment"
)

func newRotateCmd(a *app) *cobra.Command {
	var data string
	c := &cobra.Command{
		Use:   "rotate KIND STEP --data DIR",
		Short: "Replace one of the deployment's own keys, with overlap",
		Long: `Replace a key of the deployment in three steps, so that nobody is cut off. KIND is
response (signs release responses), token (signs access tokens), ak-ca (certifies
attestation keys) or tls-ca (certifies the broker's TLS certificate).

  announce   make the new key and list it in agent.json; the old one still signs.
             Give the new agent.json to images and agents before the next step.
  activate   the new key signs, the old one is still accepted; once more: back
  retire     forget the key that does not sign

Each step is a record. The broker must be stopped, and uses the keys when it
starts again.`,
		Args: exactArgs("KIND", "STEP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if data == "" {
				return usagef("rotate: --data is required")
			}
			cfg, err := loadConfig(data, "")
			if err != nil {
				return unreadable(err)
			}
			b, err := openBroker(cmd.Context(), brokerOptions{
				Dir: data, Config: cfg, Logger: slog.New(slog.DiscardHandler), Level: &slog.LevelVar{}, Now: time.Now,
			})
			if err != nil {
				return err
			}
			kind, step := deployment.Kind(args[0]), deployment.Step(args[1])
			err = b.dep.Rotate(cmd.Context(), b.records(cmd.Context(), ""), kind, step)
			if cerr := b.close(); err == nil {
				err = cerr
			}
			if err != nil {
				return err
			}
			if a.json {
				return printJSON(a.stdout, map[string]any{"kind": kind, "step": step})
			}
			_, err = fmt.Fprintf(a.stdout, "%s key: %s done; start the broker, which writes %s anew\n", kind, step, agentFile)
			return err
		},
	}
	c.Flags().StringVar(&data, "data", "", "data `DIR` of the deployment (required)")
	return c
}
