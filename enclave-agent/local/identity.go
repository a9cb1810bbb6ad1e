package local

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/sys/unix"

	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/internal/imds"
	"github.com/openskr/openskr/internal/strict"
)

// identity is the managed identity of one caller: an endpoint with a secret of its own,
// which the caller's environment has.
type identity struct {
	listener net.Listener
	handler  http.Handler
	folder   *os.File
	file     string
	inode    uint64
}

// listenIdentity opens a caller's endpoint and writes its file.
func (s *Server) listenIdentity(c *caller) (err error) {
	cfg := c.Identity
	gid, err := lookUp(cfg.Group, groupID)
	if err != nil {
		return fmt.Errorf("%w: identity of %s: %w", agent.ErrConfig, c.Name, err)
	}
	address, client, secret := cfg.Address, cfg.ClientID, rand.Text()
	if address == "" {
		address = "127.0.0.1:0"
	}
	if client == "" {
		client = DefaultClientID
	}
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: identity of %s: %w", agent.ErrConfig, c.Name, err)
	}
	i := &identity{file: filepath.Base(cfg.Environment)}
	i.handler, err = imds.New(imds.Config{
		Source: &source{s, c, s.opts.Log.With("endpoint", "managed identity", "caller", c.Name)}, ClientID: client, Secret: secret,
		Metadata: cfg.Metadata, Address: at.Addr(), Now: time.Now,
	})
	if err != nil {
		return err
	}
	if i.listener, err = listenTCP(address); err != nil {
		return err
	}
	s.identities = append(s.identities, i)
	if cfg.Environment == "" {
		return nil
	}
	env := fmt.Sprintf("IDENTITY_ENDPOINT=http://%s%s\nIDENTITY_HEADER=%s\n", i.listener.Addr(), imds.PathAppService, secret)
	if err := i.write(cfg.Environment, env, gid); err != nil {
		return fmt.Errorf("%w: identity of %s: %w", agent.ErrConfig, c.Name, err)
	}
	return nil
}

// write replaces the file at once: a reader sees the old one or the new one.
func (i *identity) write(path, text string, gid *uint32) (err error) {
	if i.folder, err = openFolder(filepath.Dir(path), gid); err != nil {
		return err
	}
	dir, temporary := int(i.folder.Fd()), "."+rand.Text()
	fd, err := unix.Openat(dir, temporary, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), path)
	var st unix.Stat_t
	if _, err = f.WriteString(text); err == nil {
		err = unix.Fstat(fd, &st)
	}
	i.inode = st.Ino
	if err == nil && gid != nil && st.Gid != *gid {
		err = f.Chown(-1, int(*gid))
	}
	if err == nil && gid != nil {
		err = f.Chmod(0o640)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = unix.Renameat(dir, temporary, dir, i.file)
	}
	if err != nil {
		return errors.Join(err, unix.Unlinkat(dir, temporary, 0))
	}
	return nil
}

// Close stops listening and removes the file.
func (i *identity) Close() error { return errors.Join(i.listener.Close(), i.forget()) }

// forget removes the file, if it is still this one: nobody answers at what it says.
func (i *identity) forget() error {
	if i.folder == nil {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Fstatat(int(i.folder.Fd()), i.file, &st, unix.AT_SYMLINK_NOFOLLOW); err == nil && st.Ino == i.inode {
		_ = unix.Unlinkat(int(i.folder.Fd()), i.file, 0) // the next run replaces it
	}
	return i.folder.Close()
}

// source gives attested access tokens for the vaults of one caller.
type source struct {
	server *Server
	caller *caller
	log    *slog.Logger
}

// Token implements [imds.Source].
func (s *source) Token(ctx context.Context, resource string) (*imds.Token, error) {
	vault, err := vaultOf(s.caller.Vaults, resource)
	var token *imds.Token
	if err != nil {
		err = fmt.Errorf("%w %.256q: %w", imds.ErrResource, resource, err)
	} else {
		token, err = s.token(ctx, vault)
	}
	if err != nil {
		s.log.Warn("refused", "reason", err)
		return nil, err
	}
	s.log.Info("token given", "vault", vault)
	return token, nil
}

func (s *source) token(ctx context.Context, vault string) (*imds.Token, error) {
	leave, ok := s.caller.enter()
	if !ok {
		return nil, errors.New("too many requests of this caller are under way")
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, s.server.opts.Timeout)
	defer cancel()
	got, err := s.server.opts.Agent.Token(ctx, vault)
	if err != nil {
		return nil, err
	}
	token := &imds.Token{Access: string(got.Material.Bytes()), Begin: time.Now()}
	life, err := lifetime(token.Access)
	if err := errors.Join(err, got.Material.Close()); err != nil {
		return nil, err
	}
	token.Expire = token.Begin.Add(life)
	return token, nil
}

// vaultOf finds the vault that a client means by a resource: Key Vault's clients ask for
// what the vault's challenge names, which is its URL or the one a label shorter.
func vaultOf(vaults []string, resource string) (string, error) {
	if slices.Contains(vaults, resource) {
		return resource, nil
	}
	var found []string
	for _, v := range vaults {
		if _, parent, ok := strings.Cut(strings.TrimPrefix(v, "https://"), "."); ok && resource == "https://"+parent {
			found = append(found, v)
		}
	}
	switch len(found) {
	case 0:
		return "", errors.New("workload.json lists no such vault for this caller")
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("it could be each of %s: a token is for one vault, so give each a caller with an identity of its own", strings.Join(found, ", "))
}

const (
	maxLife   = 3600     // seconds that a token is believed to live at most
	maxClaims = 16 << 10 // bytes
)

// lifetime reads how long a token lives, by the clock of whoever made it: that of this
// machine may be wrong. The broker's answer, which was verified, brought it.
func lifetime(token string) (time.Duration, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return 0, errNoLife
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return 0, errNoLife
	}
	var claims map[string]jsontext.Value
	if strict.Unmarshal(b, maxClaims, &claims) != nil {
		return 0, errNoLife
	}
	var from, to int64
	for name, n := range map[string]*int64{"iat": &from, "exp": &to} {
		if *n, err = strconv.ParseInt(string(claims[name]), 10, 64); err != nil || *n <= 0 {
			return 0, errNoLife
		}
	}
	if to <= from || to-from > maxLife {
		return 0, errNoLife
	}
	return time.Duration(to-from) * time.Second, nil
}

var errNoLife = errors.New("the broker's token does not say how long it lives")
