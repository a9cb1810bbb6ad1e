package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/openskr/openskr/attest/all"
	"github.com/openskr/openskr/internal/endorser"
)

func newConfigCmd(a *app) *cobra.Command {
	root := parent(&cobra.Command{Use: "config", Short: "Check the broker's configuration"})
	manual, err := configManual()
	if err != nil {
		manual = err.Error() // the source is part of this program; a test reads it
	}
	var data string
	check := &cobra.Command{
		Use: "check [FILE]", Short: "Check a configuration file and print its effective values",
		Long: manual, Args: maxArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			path := ""
			if len(args) == 1 {
				path = args[0]
			}
			if path == "" && data == "" {
				return usagef("config check: name a FILE or --data DIR")
			}
			c, err := loadConfig(data, path)
			if err != nil {
				return unreadable(err)
			}
			if err := c.works(); err != nil {
				return unreadable(err)
			}
			d, err := c.Digest()
			if err != nil {
				return err
			}
			if a.json {
				return printJSON(a.stdout, map[string]any{"config": c.effective(), "digest": d.String()})
			}
			text, err := c.effective().yaml()
			if err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, "%s# digest in records: %s\n", text, d)
			return nil
		},
	}
	check.Flags().StringVar(&data, "data", "", "data `DIR` of a deployment, for its "+configName)
	root.AddCommand(check)
	return root
}

// works makes what serve makes of c, as far as that needs no deployment.
func (c *Config) works() error {
	s, err := (&broker{}).loadSettings(c)
	if err != nil {
		return err
	}
	if _, err := certPool(c.EKRoots); err != nil {
		return fmt.Errorf("ek_roots: %w", err)
	}
	if s.trust.Endorser, err = endorser.New(endorser.Config{AMD: c.AMDKDS, Intel: c.IntelPCS, Issuers: c.issuerURLs()}); err != nil {
		return err
	}
	_, err = all.New(s.trust)
	return err
}

// maxArgs allows up to n arguments.
func maxArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > n {
			return usagef("%s: unexpected %q", cmd.CommandPath(), args[n])
		}
		return nil
	}
}
