package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/enclave-agent/keyprovider"
)

func (a *app) keyproviderCmd() *cobra.Command {
	var public, keys []string
	c := &cobra.Command{
		Use: "keyprovider", Short: "Wrap and unwrap layers of container images, as a command of ocicrypt",
		Long: "Answers one request of ocicrypt's key provider protocol, from standard input to standard output:\n" +
			"skopeo and container runtimes start it for each layer of an image. A machine that builds images\n" +
			"encrypts them with --public-key, and needs neither broker nor hardware for it. A machine that runs\n" +
			"them decrypts with --key, or asks openskr-workload serve instead.",
		Example: "  openskr key show images --json > images.json\n" +
			"  {\"key-providers\":{\"" + keyprovider.Provider + "\":{\"cmd\":{\"path\":\"openskr-workload\",\"args\":[\"keyprovider\",\"--public-key\",\"images.json\"]}}}}",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.keyprovider(cmd.Context(), public, keys) },
	}
	c.Flags().StringArrayVar(&public, "public-key", nil, "`FILE` with what openskr key show NAME --json prints (repeatable)")
	c.Flags().StringArrayVar(&keys, "key", nil, "`URL` of a key that this machine may get, without a version any of them (repeatable)")
	return c
}

func (a *app) keyprovider(ctx context.Context, public, keys []string) (err error) {
	c := keyprovider.Config{Timeout: a.timeout}
	for _, file := range public {
		b, err := agent.ReadBounded(file, keyprovider.MaxPublicKey)
		if err != nil {
			return fmt.Errorf("%w: --public-key: %w", agent.ErrConfig, err)
		}
		c.Keys = append(c.Keys, keyprovider.Key{Public: b})
	}
	for _, url := range keys {
		c.Keys = append(c.Keys, keyprovider.Key{URL: url})
	}
	if len(keys) > 0 {
		trust, err := agent.ReadTrust(a.config)
		if err != nil {
			return err
		}
		for _, url := range keys {
			if err := agent.CheckHost(trust, url); err != nil {
				return fmt.Errorf("--key: %w", err)
			}
		}
		ag, aerr := a.agent(ctx)
		if aerr != nil {
			return aerr
		}
		defer func() { err = errors.Join(err, ag.Close()) }()
		c.Agent = ag
	}
	s, err := keyprovider.New(c)
	if err != nil {
		return err
	}
	// In memory that does not grow, which would leave copies of a layer's key.
	request := make([]byte, keyprovider.MaxRequest+1)
	defer clear(request)
	n, err := io.ReadFull(a.stdin, request)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return err
	}
	answer, err := s.Answer(ctx, request[:n])
	if err != nil {
		return err
	}
	_, err = a.stdout.Write(answer)
	clear(answer)
	return err
}
