package harness

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// IdentityEndpoint answers as App Service does for managed identities, with tokens of
// the administrator: `openskr token serve`.
type IdentityEndpoint struct {
	// Environ is what a workload finds in its environment: IDENTITY_ENDPOINT and
	// IDENTITY_HEADER.
	Environ []string

	child *exec.Cmd
}

// StartIdentityEndpoint starts it and reads what it prints.
func (b *Broker) StartIdentityEndpoint() (*IdentityEndpoint, error) {
	e := &IdentityEndpoint{child: exec.Command(b.program, "token", "serve", "--credential", b.Dir+".admin.json")}
	e.child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := e.child.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := e.child.Start(); err != nil {
		return nil, err
	}
	for lines := bufio.NewScanner(out); len(e.Environ) < 2 && lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "IDENTITY_") {
			e.Environ = append(e.Environ, lines.Text())
		}
	}
	if len(e.Environ) < 2 {
		return nil, errors.Join(fmt.Errorf("openskr token serve printed %q", e.Environ), e.Stop())
	}
	return e, nil
}

// Stop ends it.
func (e *IdentityEndpoint) Stop() error {
	if err := e.child.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return e.child.Wait()
}

// Token gets a token of p for a resource from the token service, and its end in Unix seconds.
func (b *Broker) Token(ctx context.Context, p Principal, resource string) (string, int64, error) {
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {p.ID}, "client_secret": {p.Secret}, "scope": {resource + "/.default"}}
	resp, err := b.post(ctx, b.Authority+"/"+b.Tenant+"/oauth2/v2.0/token", form)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	var out struct {
		Token string `json:"access_token"`
		Life  int64  `json:"expires_in"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil || out.Token == "" {
		return "", 0, errors.Join(errors.New("token service: "+resp.Status), err)
	}
	return out.Token, time.Now().Unix() + out.Life, nil
}
