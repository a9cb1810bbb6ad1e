package main

import (
	"fmt"
	"net/http"

	"github.com/spf13/cobra"
)

func newClockCmd(a *app) *cobra.Command {
	cmd := parent(&cobra.Command{Use: "clock", Short: "Accept a clock that jumped"})
	cmd.AddCommand(&cobra.Command{
		Use: "accept", Short: "Say that the broker's clock is right", Args: exactArgs(),
		Long: `A broker whose clock is before its last record, or far ahead of it at the start,
releases nothing (clock_untrusted): a wrong clock would accept what has expired. Check
the clock first. The acceptance is a record.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			if err := c.call(cmd.Context(), http.MethodPost, "/v1/clock/accept", struct{}{}, nil); err != nil {
				return err
			}
			if a.json {
				return printJSON(a.stdout, map[string]bool{"accepted": true})
			}
			_, err = fmt.Fprintln(a.stdout, "the broker's clock is accepted")
			return err
		},
	})
	return cmd
}
