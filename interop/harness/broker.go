package harness

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Broker is a deployment on SQLite that a child process serves over TLS.
type Broker struct {
	// Authority is https://localhost:PORT: token service, attestation, the default vault.
	Authority string
	// Host is localhost:PORT, Port the port alone.
	Host, Port string
	// Legacy is a vault that allows weak algorithms.
	Legacy string
	// Vault is https://sdk.vault.localhost:PORT. There is kv1 besides, for the Azure CLI
	// alone: its guide shows what a vault holds. Two labels below the suffix, since
	// OpenSSL and Node take no wildcard for *.localhost.
	Vault string
	// Tenant is the deployment's id, the tenant of its token service.
	Tenant string
	// Admin holds every role.
	Admin Principal
	// CA is a PEM file with the deployment's CA, Dir the data folder.
	CA, Dir string

	program  string
	provider *provider
	child    *exec.Cmd
	exited   chan error
	log      bytes.Buffer
	client   *http.Client
}

// Principal is a service principal with its secret.
type Principal struct{ ID, Secret string }

// Suffix is the suffix of vault names, with the port.
func (b *Broker) Suffix() string { return ".vault.localhost:" + b.Port }

// Start makes a deployment below dir and serves it. program is the openskr program,
// settings are lines of its configuration ("throttle: 1").
func Start(ctx context.Context, program, dir string, settings ...string) (*Broker, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	host := "localhost:" + port
	b := &Broker{
		Authority: "https://" + host, Host: host, Port: port, Vault: "https://sdk.vault." + host, Legacy: "https://legacy.vault." + host,
		CA: filepath.Join(dir, "ca.pem"), Dir: filepath.Join(dir, "deployment"), program: program,
	}
	if err := b.init(ctx); err != nil {
		return nil, err
	}
	if err := b.federate(); err != nil {
		return nil, err
	}
	for _, line := range settings {
		member, value, _ := strings.Cut(line, ": ")
		if err := b.configure(member, value); err != nil {
			return nil, err
		}
	}
	if err := b.serve(ctx); err != nil {
		return nil, errors.Join(err, b.Stop())
	}
	for vault, weak := range map[string]bool{"sdk": false, "kv1": false, "legacy": true} {
		if err := b.call(ctx, http.MethodPost, b.Authority+"/v1/vaults", map[string]any{"name": vault, "legacy_algorithms": weak}, nil); err != nil {
			return nil, errors.Join(err, b.Stop())
		}
	}
	return b, nil
}

func (b *Broker) init(ctx context.Context) error {
	credential := b.Dir + ".admin.json"
	out, err := exec.CommandContext(ctx, b.program, "init", "--json", "--data", b.Dir, "--admin-credential", credential, "--simulation",
		"--listen", "127.0.0.1:"+b.Port, "--host", "localhost", "--host", "vault.localhost", "--host", "vault.azure.net.vault.localhost").Output()
	if err != nil {
		return failed("openskr init", err)
	}
	var made struct {
		Deployment string `json:"deployment"`
		ID         string `json:"client_id"`
		Secret     string `json:"client_secret"`
	}
	if err := json.Unmarshal(out, &made); err != nil {
		return fmt.Errorf("openskr init: %w", err)
	}
	b.Tenant, b.Admin = made.Deployment, Principal{made.ID, made.Secret}
	file, err := os.ReadFile(credential)
	if err != nil {
		return err
	}
	var cred struct {
		CA string `json:"ca"`
	}
	if err := json.Unmarshal(file, &cred); err != nil {
		return err
	}
	if err := os.WriteFile(b.CA, []byte(cred.CA), 0o644); err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(cred.CA)) {
		return errors.New("openskr init gave no CA")
	}
	var d net.Dialer
	b.client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return d.DialContext(ctx, network, "127.0.0.1:"+b.Port)
		},
	}}
	return nil
}

// serve starts the child and waits until it is ready.
func (b *Broker) serve(ctx context.Context) error {
	b.child = exec.Command(b.program, "serve", "--data", b.Dir)
	b.child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	b.child.Stderr = &b.log
	if err := b.child.Start(); err != nil {
		b.child = nil
		return err
	}
	b.exited = make(chan error, 1)
	go func() { b.exited <- b.child.Wait() }()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.Authority+"/readyz", nil)
		if err != nil {
			return err
		}
		resp, err := b.client.Do(req)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(resp.Status)
		}
		select { // another process: nothing to wait on but its answer
		case err := <-b.exited:
			b.child = nil
			return fmt.Errorf("openskr serve ended: %w\n%s", err, b.log.String())
		case <-ctx.Done():
			return fmt.Errorf("the broker did not become ready: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Metrics is what the broker answers at /metrics.
func (b *Broker) Metrics(ctx context.Context) (string, error) {
	token, _, err := b.Token(ctx, b.Admin, b.Authority)
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.Authority+"/metrics", nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := b.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("/metrics: %s\n%s", resp.Status, text)
	}
	return string(text), err
}

// Run runs an openskr command as the administrator and gives what it printed.
func (b *Broker) Run(ctx context.Context, args ...string) ([]byte, error) {
	c := exec.CommandContext(ctx, b.program, args...)
	c.Env = append(os.Environ(), "OPENSKR_CREDENTIAL="+b.Dir+".admin.json")
	out, err := c.Output()
	if err != nil {
		return nil, failed("openskr "+strings.Join(args, " "), err)
	}
	return out, nil
}

// call asks the broker for something as the administrator.
func (b *Broker) call(ctx context.Context, method, address string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return err
	}
	token, _, err := b.Token(ctx, b.Admin, b.Authority)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := b.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 300 {
		return errors.Join(fmt.Errorf("%s %s: %s\n%s", method, address, resp.Status, answer), err)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}

// post sends a form to the broker.
func (b *Broker) post(ctx context.Context, address string, form url.Values) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.client.Do(req)
}

// Log is what the broker wrote to its log. Only after [Broker.Stop].
func (b *Broker) Log() string { return b.log.String() }

// Stop ends the broker, as systemd would.
func (b *Broker) Stop() error {
	if b.child == nil {
		return nil
	}
	b.client.CloseIdleConnections()
	if err := b.child.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	if err := <-b.exited; err != nil {
		return fmt.Errorf("openskr serve: %w\n%s", err, b.log.String())
	}
	return nil
}

// Build builds the openskr program of the repository at root into dir.
func Build(ctx context.Context, root, dir string) (string, error) {
	program := filepath.Join(dir, "openskr")
	c := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", program, "./cmd/openskr")
	c.Dir, c.Env = root, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return program, nil
}

// failed puts what a program said into its error.
func failed(what string, err error) error {
	var e *exec.ExitError
	if errors.As(err, &e) {
		return fmt.Errorf("%s: %w\n%s", what, err, e.Stderr)
	}
	return fmt.Errorf("%s: %w", what, err)
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}
