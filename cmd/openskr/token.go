package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/openskr/openskr/internal/identity"
	"github.com/openskr/openskr/internal/imds"
)

func newTokenCmd(a *app) *cobra.Command {
	c := parent(&cobra.Command{Use: "token", Short: "Give your tokens to other programs on this machine"})
	c.AddCommand(newTokenGetCmd(a), newTokenServeCmd(a), newTokenIDCmd(a))
	return c
}

func newTokenGetCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "get", Short: "Print an access token of yours", Args: exactArgs(),
		Long: `Prints an access token of --credential, or of the session of ` + "`openskr login`" + `, for a program that takes
one: whoever has it may do what you may until it ends. Keep it in a file of your own:`,
		Example: "  (umask 077; openskr token get > token)\n  openskr-agent seal-disk /dev/vdb --key https://vault.example:8443/keys/disk --token token",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			if a.json {
				return printJSON(a.stdout, map[string]string{"access_token": c.token})
			}
			_, err = fmt.Fprintln(a.stdout, c.token)
			return err
		},
	}
}

func newTokenServeCmd(a *app) *cobra.Command {
	var listen string
	var metadata bool
	c := &cobra.Command{
		Use: "serve", Short: "Answer as Azure's managed identity endpoint does", Args: exactArgs(),
		Long: `Answers programs on this machine that use Azure's libraries with
ManagedIdentityCredential or DefaultAzureCredential: they get tokens of the
principal of --credential, or of the session of ` + "`openskr login`" + ` until it ends, and
need no credential of their own. It runs until it is stopped.

It prints IDENTITY_ENDPOINT and IDENTITY_HEADER, once: set them for the programs
that may speak for the principal, and for no others. Requests from elsewhere, through
a proxy or out of a browser are refused.`,
		Example: `  openskr token serve --credential app.json > identity.env &
  env $(cat identity.env) ./app`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.serveTokens(cmd.Context(), listen, metadata) },
	}
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "loopback `HOST:PORT` to listen on; port 0: any that is free")
	c.Flags().BoolVar(&metadata, "metadata", false, "also answer "+imds.PathMetadata+", where no secret is asked for: every user of this machine may then speak for the principal")
	return c
}

func newTokenIDCmd(a *app) *cobra.Command {
	var issuer, subject string
	c := &cobra.Command{
		Use: "id --issuer URL --subject TEXT", Short: "Print the id that a caller of an identity provider has here", Args: exactArgs(),
		Long: `Prints the principal id under which a caller of oidc_issuers stands in records and
role assignments. It is made of both names and nothing else, so that it can be given
roles before its first request. The subject is the claim that names callers: oid where
there is one, else sub, or what the issuer's entry says.`,
		RunE: func(*cobra.Command, []string) error {
			if issuer == "" || subject == "" {
				return usagef("token id: --issuer and --subject are required")
			}
			id := identity.ExternalID(issuer, subject)
			if a.json {
				return printJSON(a.stdout, map[string]string{"id": id, "issuer": issuer, "subject": subject})
			}
			_, err := fmt.Fprintln(a.stdout, id)
			return err
		},
	}
	c.Flags().StringVar(&issuer, "issuer", "", "`URL` of the issuer, exactly as in its tokens (required)")
	c.Flags().StringVar(&subject, "subject", "", "the caller's oid or sub (required)")
	return c
}

func (a *app) serveTokens(ctx context.Context, listen string, metadata bool) error {
	source, client, err := a.tokenSource(ctx)
	if err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(listen)
	if addr, bad := netip.ParseAddr(host); err != nil || bad != nil || !addr.IsLoopback() {
		return usagef("token serve: --listen %q: want a loopback address and a port, as 127.0.0.1:0: tokens are for programs on this machine", listen)
	}
	secret := rand.Text()
	handler, err := imds.New(imds.Config{Source: source, ClientID: client, Secret: secret, Metadata: metadata, Now: time.Now})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: clientTimeout + 10*time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}
	endpoint := "http://" + l.Addr().String() + imds.PathAppService
	if a.json {
		err = printJSON(a.stdout, map[string]string{"IDENTITY_ENDPOINT": endpoint, "IDENTITY_HEADER": secret})
	} else {
		_, err = fmt.Fprintf(a.stdout, "IDENTITY_ENDPOINT=%s\nIDENTITY_HEADER=%s\n", endpoint, secret)
	}
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// tokenSource is where tokens come from: the credential, which always has a new one, or
// the one of the session.
func (a *app) tokenSource(ctx context.Context) (imds.Source, string, error) {
	if a.credentialPath() == "" {
		s, err := a.readSession()
		if err != nil {
			return nil, "", err
		}
		return sessionSource{s, a}, s.ClientID, nil
	}
	c, err := a.readCredential()
	if err != nil {
		return nil, "", err
	}
	base, err := baseURL(c.Broker)
	if err != nil {
		return nil, "", err
	}
	h, err := pinned([]byte(c.CA))
	if err != nil {
		return nil, "", err
	}
	source := credentialSource{a, &client{base: base, http: h}, c}
	_, _, err = source.client.login(ctx, c) // say now what will not work
	return source, c.ClientID, err
}

type credentialSource struct {
	*app
	client *client
	cred   *credential
}

// Token implements [imds.Source]: the broker judges the resource.
func (s credentialSource) Token(ctx context.Context, resource string) (*imds.Token, error) {
	authority, _, err := s.client.authority(ctx)
	if err != nil {
		return nil, s.failed(err)
	}
	token, life, err := s.client.tokenFor(ctx, authority, resource, s.cred)
	if err != nil {
		return nil, s.failed(err)
	}
	now := time.Now()
	return &imds.Token{Access: token, Begin: now, Expire: now.Add(life)}, nil
}

// failed tells the operator; the asker learns whose fault it is.
func (a *app) failed(err error) error {
	a.complain(err)
	if e, ok := errors.AsType[*brokerError](err); ok && e.Status == http.StatusBadRequest {
		return fmt.Errorf("%w: %w", imds.ErrResource, err)
	}
	return err
}

type sessionSource struct {
	*session
	app *app
}

// Token implements [imds.Source]. The token is good at the whole broker, so that it is
// given for the broker's own names alone: whoever asks for another's would carry it there.
func (s sessionSource) Token(_ context.Context, resource string) (*imds.Token, error) {
	own := identity.Resources([]string{strings.TrimPrefix(s.Broker, "https://")})
	if !slices.Contains(own, resource) {
		return nil, s.app.failed(fmt.Errorf("%w: %q is not one of %v; with --credential the broker is asked", imds.ErrResource, resource, own))
	}
	now := time.Now()
	if now.Unix() >= s.Expires {
		return nil, s.app.failed(errors.New("the session ended: run `openskr login` again, and this command"))
	}
	return &imds.Token{Access: s.session.Token, Begin: now, Expire: time.Unix(s.Expires, 0)}, nil
}
