package main

import (
	"errors"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	v1 "github.com/openskr/openskr/internal/api/v1"
)

// defaultExchange is the audience that platforms give tokens for Azure's federation.
const defaultExchange = "api://AzureADTokenExchange"

// proofs are the flags that say what proves a principal besides a secret.
type proofs struct{ certificates, sans, federated []string }

func (p *proofs) flags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&p.certificates, "certificate", nil, "PEM `FILE` of a certificate whose key proves it; may be repeated")
	cmd.Flags().StringArrayVar(&p.sans, "san", nil, "`uri:NAME|dns:NAME` that a client certificate below client_ca must have; may be repeated")
	cmd.Flags().StringArrayVar(&p.federated, "federated", nil, "`'ISSUER SUBJECT [AUDIENCE]'` of a workload's token, exactly as in it (audience: "+defaultExchange+"); may be repeated")
}

// read reads the files that the flags name. Neither list is nil.
func (p *proofs) read(a *app) (certs []v1.Certificate, federated []v1.Federated, err error) {
	certs, federated = []v1.Certificate{}, []v1.Federated{}
	for _, path := range p.certificates {
		b, err := a.input(path)
		if err != nil {
			return nil, nil, err
		}
		found, err := certificates(b)
		if err == nil && len(found) == 0 {
			err = errors.New("it is empty")
		}
		if err != nil {
			return nil, nil, usagef("%s: want a certificate (PEM): %w", path, err)
		}
		certs = append(certs, v1.Certificate{DER: found[0].Raw}) // those behind it are its issuers
	}
	for _, san := range p.sans {
		certs = append(certs, v1.Certificate{SAN: san})
	}
	for _, f := range p.federated {
		part := strings.Fields(f)
		if len(part) == 2 {
			part = append(part, defaultExchange)
		}
		if len(part) != 3 {
			return nil, nil, usagef("--federated %q: want 'ISSUER SUBJECT' or 'ISSUER SUBJECT AUDIENCE'", f)
		}
		federated = append(federated, v1.Federated{Issuer: part[0], Subject: part[1], Audience: part[2]})
	}
	return certs, federated, nil
}

func newPrincipalProofsCmd(a *app) *cobra.Command {
	var p proofs
	var none bool
	cmd := &cobra.Command{
		Use: "proofs PRINCIPAL", Short: "Replace the certificates and federated identities that prove a principal", Args: exactArgs("PRINCIPAL"),
		Long: `Replace what proves a principal besides its secret: all of it, so that what is not named
here proves it no longer. docs/authentication.md explains each kind. Tokens that were got
before end within the hour, or at once when the principal is disabled.`,
		Example: `  openskr principal proofs web --certificate web.pem
  openskr principal proofs web --federated 'https://oidc.cluster.example system:serviceaccount:shop:web'
  openskr principal proofs web --none`,
		RunE: func(cmd *cobra.Command, args []string) error {
			certs, federated, err := p.read(a)
			if err != nil {
				return err
			}
			if none == (len(certs)+len(federated) > 0) {
				return usagef("principal proofs: name what proves it, or --none")
			}
			return a.principalRequest(cmd, http.MethodPatch, args[0], v1.PrincipalPatch{Certificates: &certs, Federated: &federated})
		},
	}
	p.flags(cmd)
	cmd.Flags().BoolVar(&none, "none", false, "nothing but its secret proves it")
	return cmd
}
