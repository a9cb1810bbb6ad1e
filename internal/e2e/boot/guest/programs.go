package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// limit bounds what one program waits for.
const limit = 60 * time.Second

// digest is what a console may show of a secret.
func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256 " + hex.EncodeToString(sum[:])
}

// application is /usr/bin/app of docs/secrets.md: it says what it was given, and runs
// until it is stopped.
func application() {
	file := os.Getenv("TLS_KEY_FILE")
	b, err := os.ReadFile(file)
	var in unix.Statfs_t
	var st unix.Stat_t
	err = errors.Join(err, unix.Statfs(file, &in), unix.Stat(file, &st))
	report("DB_PASSWORD %s, %s %s, mode %#o, tmpfs %t, %v",
		digest([]byte(os.Getenv("DB_PASSWORD"))), file, digest(b), st.Mode&0o777, in.Type == unix.TMPFS_MAGIC, err)
	forever()
}

// identity is a program with a managed identity: it reads the secret db as Azure's
// libraries do, and runs until it is stopped.
func identity() {
	value, err := secret("db")
	report("db %s %v", digest(value), err)
	forever()
}

// forever ends with a signal. An empty select would be a deadlock to Go.
func forever() {
	for {
		_ = unix.Pause()
	}
}

// secret reads one of the vault, with a token of IDENTITY_ENDPOINT.
func secret(name string) ([]byte, error) {
	broker, roots, err := trust()
	if err != nil {
		return nil, err
	}
	endpoint := os.Getenv("IDENTITY_ENDPOINT") + "?api-version=2019-08-01&resource=" + url.QueryEscape(broker)
	var token struct {
		AccessToken string `json:"access_token"`
	}
	if err := get(http.DefaultClient, endpoint, http.Header{"X-Identity-Header": {os.Getenv("IDENTITY_HEADER")}}, &token); err != nil {
		return nil, err
	}
	vault := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	var answer struct{ Value string }
	err = get(vault, broker+"/secrets/"+name+"?api-version=7.6", http.Header{"Authorization": {"Bearer " + token.AccessToken}}, &answer)
	return []byte(answer.Value), err
}

// trust is the broker that this machine is configured for, and its CA.
func trust() (string, *x509.CertPool, error) {
	b, err := os.ReadFile("/etc/openskr/agent.json")
	if err != nil {
		return "", nil, err
	}
	var t struct {
		URLs []string
		CA   string
	}
	if err := json.Unmarshal(b, &t); err != nil {
		return "", nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(t.CA))
	return t.URLs[0], roots, nil
}

func get(client *http.Client, url string, header http.Header, to any) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	r.Header = header
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return errors.New(answer.Status)
	}
	return json.NewDecoder(answer.Body).Decode(to)
}

// played runs the program whose name this one was started by, if it is one of those.
func played() bool {
	switch name := filepath.Base(os.Args[0]); {
	case name == "app":
		application()
	case name == "identity":
		identity()
	case len(os.Args) > 3 && os.Args[1] == "ask":
		ask(os.Args[2:])
	default:
		return false
	}
	return true
}
