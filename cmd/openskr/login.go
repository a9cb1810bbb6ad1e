package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/openskr/openskr/internal/strict"
)

// credential is what `openskr init` writes for a principal. It is a secret.
type credential struct {
	Broker       string `json:"broker"` // https://host[:port]
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
	CA           string `json:"ca"` // PEM
}

// session is what `openskr login` keeps: a token, never the credential's secret.
type session struct {
	Broker   string `json:"broker"`
	ClientID string `json:"client_id"`
	CA       string `json:"ca"`
	Token    string `json:"token"`
	Expires  int64  `json:"expires"` // Unix seconds
}

const maxCredential = 1 << 20

func newLoginCmd(a *app) *cobra.Command {
	var broker, ca string
	cmd := &cobra.Command{
		Use: "login", Short: "Keep a token for the commands that follow", Args: exactArgs(),
		Long: `Exchanges a credential for a token and keeps the token, readable by you alone, in
$XDG_STATE_HOME/openskr (default ~/.local/state/openskr). The token lives an hour;
the credential itself is not kept.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.authenticate(cmd.Context(), broker, ca)
			if err != nil {
				return err
			}
			path, err := sessionPath()
			if err != nil {
				return err
			}
			if err := saveSession(path, s); err != nil {
				return err
			}
			if a.json {
				return printJSON(a.stdout, map[string]any{"broker": s.Broker, "client_id": s.ClientID, "expires": s.Expires})
			}
			_, err = fmt.Fprintf(a.stdout, "logged in to %s until %s\n", s.Broker, time.Unix(s.Expires, 0).UTC().Format(time.RFC3339))
			return err
		},
	}
	cmd.Flags().StringVar(&broker, "broker", "", "`URL` of the broker, instead of the credential's")
	cmd.Flags().StringVar(&ca, "ca", "", "`FILE` with the broker's CA, PEM or its agent.json, instead of the credential's")
	return cmd
}

func newLogoutCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "logout", Short: "Forget the token of `openskr login`", Args: exactArgs(),
		RunE: func(*cobra.Command, []string) error {
			path, err := sessionPath()
			if err != nil {
				return err
			}
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			if a.json {
				return printJSON(a.stdout, map[string]bool{"logged_out": true})
			}
			_, err = fmt.Fprintln(a.stdout, "logged out")
			return err
		},
	}
}

// connect gives a client for this command: with the credential named by flag or
// environment, else with the session.
func (a *app) connect(ctx context.Context) (*client, error) {
	if a.credentialPath() != "" {
		s, err := a.authenticate(ctx, "", "")
		if err != nil {
			return nil, err
		}
		return s.client()
	}
	s, err := a.readSession()
	if err != nil {
		return nil, err
	}
	return s.client()
}

// readSession gives the session of `openskr login`, while it lasts.
func (a *app) readSession() (*session, error) {
	path, err := sessionPath()
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usagef("not logged in: run `openskr login --credential FILE`, or give --credential FILE to this command")
	}
	if err != nil {
		return nil, err
	}
	var s session
	if err := strict.Unmarshal(b, maxCredential, &s); err != nil {
		return nil, unreadable(fmt.Errorf("%s: %w; run `openskr login` again", path, err))
	}
	if time.Now().Unix() >= s.Expires {
		return nil, usagef("the session ended at %s: run `openskr login` again", time.Unix(s.Expires, 0).UTC().Format(time.RFC3339))
	}
	return &s, nil
}

func (s *session) client() (*client, error) {
	h, err := pinned([]byte(s.CA))
	if err != nil {
		return nil, err
	}
	return &client{base: s.Broker, token: s.Token, http: h, ca: s.CA}, nil
}

func (a *app) credentialPath() string {
	if a.credential != "" {
		return a.credential
	}
	return os.Getenv("OPENSKR_CREDENTIAL")
}

// authenticate exchanges the credential for a token.
func (a *app) authenticate(ctx context.Context, broker, caFile string) (*session, error) {
	c, err := a.readCredential()
	if err != nil {
		return nil, err
	}
	if broker != "" {
		c.Broker = broker
	}
	if caFile != "" {
		b, err := a.input(caFile)
		if err != nil {
			return nil, err
		}
		if c.CA, err = caOf(caFile, b); err != nil {
			return nil, err
		}
	}
	base, err := baseURL(c.Broker)
	if err != nil {
		return nil, err
	}
	h, err := pinned([]byte(c.CA))
	if err != nil {
		return nil, err
	}
	token, life, err := (&client{base: base, http: h}).login(ctx, c)
	if err != nil {
		return nil, err
	}
	return &session{Broker: base, ClientID: c.ClientID, CA: c.CA, Token: token, Expires: time.Now().Add(life).Unix()}, nil
}

func (a *app) readCredential() (*credential, error) {
	path := a.credentialPath()
	if path == "" {
		return nil, usagef("no credential: give --credential FILE or set OPENSKR_CREDENTIAL to its path")
	}
	if fi, err := os.Stat(path); err == nil && path != "-" && fi.Mode().IsRegular() && fi.Mode().Perm()&0o077 != 0 {
		return nil, usagef("%s can be read by others (mode %#o): chmod 600 it, and replace the credential if others are not trusted", path, fi.Mode().Perm())
	}
	b, err := a.input(path)
	if err != nil {
		return nil, err
	}
	var c credential
	if err := strict.Unmarshal(b, maxCredential, &c); err != nil {
		// The text of a decoding error could quote the secret.
		return nil, usagef("%s is not a credential file of `openskr init`", path)
	}
	if c.ClientID == "" || c.ClientSecret == "" {
		return nil, usagef("%s has no client_id or client_secret", path)
	}
	return &c, nil
}

// login asks for a token of this broker.
func (c *client) login(ctx context.Context, cred *credential) (token string, life time.Duration, err error) {
	authority, resource, err := c.authority(ctx)
	if err != nil {
		return "", 0, err
	}
	return c.tokenFor(ctx, authority, resource, cred)
}

// authority finds the token endpoint as Key Vault clients do, by the challenge of an
// unauthenticated request. It must be the broker itself: the secret goes nowhere else.
func (c *client) authority(ctx context.Context) (authority, resource string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/keys?api-version="+apiVersion, nil)
	if err != nil {
		return "", "", err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return "", "", unreachable(c.base, err)
	}
	_ = resp.Body.Close()
	authority, resource, err = loginChallenge(resp.Header.Get("WWW-Authenticate"))
	if err != nil {
		return "", "", fmt.Errorf("%s answered %d: %w", c.base, resp.StatusCode, err)
	}
	if !strings.HasPrefix(authority, c.base+"/") {
		return "", "", fmt.Errorf("%s wants the credential sent to %q, which is not this broker: use the name it was set up with", c.base, authority)
	}
	return authority, resource, nil
}

// tokenFor asks the token service for a token for a resource.
func (c *client) tokenFor(ctx context.Context, authority, resource string, cred *credential) (token string, life time.Duration, err error) {
	form := url.Values{
		"grant_type": {"client_credentials"}, "scope": {resource + "/.default"},
		"client_id": {cred.ClientID}, "client_secret": {cred.ClientSecret},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, authority+"/oauth2/v2.0/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", 0, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	b, err := c.do(req)
	if err != nil {
		return "", 0, fmt.Errorf("credential not accepted: %w", err)
	}
	var t struct {
		Access  string `json:"access_token"`
		Expires int64  `json:"expires_in"`
	}
	if err := json.Unmarshal(b, &t); err != nil || t.Access == "" || t.Expires <= 0 {
		return "", 0, errors.New("the broker's token answer has no token")
	}
	return t.Access, time.Duration(t.Expires) * time.Second, nil
}

// loginChallenge reads authorization and resource of a Bearer challenge (wire format
// of Key Vault: comma-separated, quoted, no blanks inside).
func loginChallenge(header string) (authority, resource string, err error) {
	rest, ok := strings.CutPrefix(header, "Bearer ")
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch value = strings.Trim(value, `"`); name {
		case "authorization":
			authority = strings.TrimSuffix(value, "/")
		case "resource":
			resource = strings.TrimSuffix(value, "/")
		}
	}
	if !ok || authority == "" || resource == "" {
		return "", "", errors.New("no login challenge: is this an OpenSKR broker?")
	}
	return authority, resource, nil
}

func sessionPath() (string, error) {
	dir := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(dir) { // XDG: a relative path is invalid and ignored
		home, err := os.UserHomeDir()
		if err != nil {
			return "", usagef("neither XDG_STATE_HOME nor HOME says where to keep the session")
		}
		dir = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(dir, "openskr", "session.json"), nil
}

// saveSession replaces the session file in one step.
func saveSession(path string, s *session) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	b, err := strict.Marshal(s)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".session-") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // nothing is left to remove when all went well
	_, err = f.Write(b)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
