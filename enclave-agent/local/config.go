package local

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	agent "github.com/openskr/openskr/enclave-agent"
	"github.com/openskr/openskr/internal/strict"
)

// Config is workload.json: who on this machine may ask for what. What it does not name
// is refused; what it names is all that is ever asked of a broker on a caller's behalf.
type Config struct {
	V           int          `json:"v"` // 1
	Socket      *Socket      `json:"socket,omitempty"`
	TCP         *TCP         `json:"tcp,omitempty"` // for callers with a token
	Callers     []Caller     `json:"callers"`
	KeyProvider *KeyProvider `json:"keyprovider,omitempty"`
}

// Socket is the AF_UNIX socket of the API.
type Socket struct {
	Path  string `json:"path,omitempty"`  // absolute; "": systemd hands the socket over
	Group string `json:"group,omitempty"` // that may connect; "": this program's user alone
}

// TCP is the API on the loopback, for programs that cannot use a socket in the file system.
type TCP struct {
	Address string `json:"address"` // a loopback address and a port, as 127.0.0.1:8080
}

// Caller is one program, or several that may do the same. User, group and cgroup say who
// it is on a socket, and each that is given must hold; the token says it on TCP.
type Caller struct {
	Name      string   `json:"name"`                 // for the log
	User      string   `json:"user,omitempty"`       // name or number
	Group     string   `json:"group,omitempty"`      // name or number: the process's own group, not one of its others
	Cgroup    string   `json:"cgroup,omitempty"`     // of the unified hierarchy; with a slash behind it, everything below
	TokenFile string   `json:"token_file,omitempty"` // of at least 32 characters
	Keys      []string `json:"keys,omitempty"`       // URLs; without a version any version
	Vaults    []string `json:"vaults,omitempty"`     // URLs that its managed identity has tokens for
	Evidence  bool     `json:"evidence,omitempty"`   // may have runtime data of its own attested
	// KeyProvider says that it may use the key provider's socket.
	KeyProvider bool `json:"keyprovider,omitempty"`
	// Identity gives it a managed identity.
	Identity *Identity `json:"identity,omitempty"`
}

// Identity is a managed identity endpoint for one caller.
type Identity struct {
	Address     string `json:"address,omitempty"`     // loopback, or MetadataAddress; "": 127.0.0.1 and any port
	Environment string `json:"environment,omitempty"` // absolute path of a file that gets the two variables; "" at MetadataAddress alone
	Group       string `json:"group,omitempty"`       // that reads the file; "": this program's user and root
	ClientID    string `json:"client_id,omitempty"`   // "": DefaultClientID
	// Metadata answers as the metadata service too, where no secret is asked for.
	Metadata bool `json:"metadata,omitempty"`
}

// MetadataAddress is where clients that were told nothing look for the metadata service.
// An administrator gives the address to this machine; listening does not.
const MetadataAddress = "169.254.169.254:80"

// DefaultClientID is the client id of a managed identity whose configuration gives none.
const DefaultClientID = "attested-machine"

// KeyProvider is the ocicrypt key provider (package keyprovider).
type KeyProvider struct {
	Address string   `json:"address"`         // unix:/PATH or a loopback address and a port
	Group   string   `json:"group,omitempty"` // that may connect to the socket
	Keys    []string `json:"keys"`            // URLs
}

// SocketPath is the path of a unix: address, "" for another.
func (k *KeyProvider) SocketPath() string {
	p, _ := strings.CutPrefix(k.Address, "unix:")
	if p == k.Address {
		return ""
	}
	return p
}

const (
	maxConfig  = 256 << 10 // bytes
	maxCallers = 64
	maxNames   = 64 // keys or vaults of one caller
	minToken   = 32 // characters
	maxToken   = 4 << 10
)

// ReadConfig reads workload.json, which nobody but root or this program's user may be
// able to change. Errors wrap [agent.ErrConfig].
func ReadConfig(file string) (*Config, error) {
	return readConfig(file, self())
}

func readConfig(file string, who owners) (*Config, error) {
	b, err := readOwn(file, maxConfig, who, func(st *unix.Stat_t) bool { return st.Mode&0o022 == 0 })
	if err != nil {
		return nil, fmt.Errorf("%w: %w; --serve-config names another file, docs/sidecar.md says what is in it", agent.ErrConfig, err)
	}
	return ParseConfig(b)
}

// owners are the users whose files are believed.
type owners []int

// self are root and this program's user.
func self() owners { return owners{0, os.Geteuid()} }

// readOwn reads a file of who, with a mode that is right.
func readOwn(file string, limit int64, who owners, right func(*unix.Stat_t) bool) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("%s is no regular file", file)
	}
	if !slices.Contains(who, int(st.Uid)) || !right(&st) {
		return nil, fmt.Errorf("%s has owner %d and mode %#o, which lets others change it, or read a token: chown root, and chmod go-w, of a token go-rwx", file, st.Uid, st.Mode&0o777)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s is longer than %d bytes", file, limit)
	}
	return b, err
}

// ParseConfig reads workload.json strictly. Its error is all that is wrong, each on a line,
// and wraps [agent.ErrConfig].
func ParseConfig(b []byte) (*Config, error) {
	var c Config
	var problems []error
	if err := strict.Unmarshal(b, maxConfig, &c); err != nil {
		problems = []error{err}
	} else {
		problems = c.check()
	}
	for i, err := range problems {
		problems[i] = fmt.Errorf("%w: workload.json: %w", agent.ErrConfig, err)
	}
	if problems != nil {
		return nil, errors.Join(problems...)
	}
	return &c, nil
}

// check gives all that is wrong.
func (c *Config) check() (problems []error) {
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if c.V != 1 {
		wrong("version %d, this program knows 1", c.V)
	}
	if c.Socket == nil && c.TCP == nil && c.KeyProvider == nil && !c.identities() {
		wrong("it serves nobody: give socket, tcp, keyprovider, or the identity of a caller")
	}
	if c.Socket != nil && c.Socket.Path != "" && !clean(c.Socket.Path) {
		wrong("socket.path %q: want an absolute path without .. or //", c.Socket.Path)
	}
	if c.TCP != nil {
		if err := checkLoopback(c.TCP.Address); err != nil {
			wrong("tcp.address: %w", err)
		}
	}
	if err := c.KeyProvider.check(); err != nil {
		wrong("keyprovider: %w", err)
	}
	if len(c.Callers) > maxCallers {
		wrong("%d callers, at most %d", len(c.Callers), maxCallers)
		return problems
	}
	names := map[string]bool{}
	for i := range c.Callers {
		caller := &c.Callers[i]
		if err := caller.check(c); err != nil {
			wrong("caller %d (%.64q): %w", i+1, caller.Name, err)
		}
		if names[caller.Name] {
			wrong("two callers are named %q", caller.Name)
		}
		names[caller.Name] = true
	}
	for _, twice := range c.twice() {
		wrong("%s is to be two things at once: give each its own", twice)
	}
	return problems
}

func (c *Config) identities() bool {
	for i := range c.Callers {
		if c.Callers[i].Identity != nil {
			return true
		}
	}
	return false
}

func (k *KeyProvider) check() error {
	if k == nil {
		return nil
	}
	if p := k.SocketPath(); p != "" || strings.HasPrefix(k.Address, "unix:") {
		if !clean(p) {
			return fmt.Errorf("address %q: want unix: and an absolute path without .. or //", k.Address)
		}
	} else if err := checkLoopback(k.Address); err != nil {
		return fmt.Errorf("address: %w, or unix:/PATH", err)
	}
	if len(k.Keys) == 0 || len(k.Keys) > maxNames {
		return fmt.Errorf("%d keys, want 1 to %d", len(k.Keys), maxNames)
	}
	return checkKeys(k.Keys)
}

func (c *Caller) check(all *Config) error {
	onSocket := c.User != "" || c.Group != ""
	switch {
	case c.Name == "" || len(c.Name) > 64 || strings.ContainsFunc(c.Name, func(r rune) bool { return r <= ' ' || r > '~' }):
		return errors.New("name: want 1 to 64 plain characters")
	case !onSocket && c.TokenFile == "" && c.Identity == nil:
		return errors.New("nothing says who it is: give user, group, token_file or identity")
	case c.Cgroup != "" && (!onSocket || !clean(strings.TrimSuffix(c.Cgroup, "/")) || c.Cgroup == "/"):
		return fmt.Errorf("cgroup %q: want an absolute path, beside user or group", c.Cgroup)
	case c.TokenFile != "" && (all.TCP == nil || !clean(c.TokenFile)):
		return errors.New("token_file: want an absolute path, and tcp, where tokens are shown")
	case c.KeyProvider && (!onSocket || all.KeyProvider == nil || all.KeyProvider.SocketPath() == ""):
		return errors.New("keyprovider: callers are told apart on a unix: address alone, by user or group")
	case (c.Identity == nil) != (len(c.Vaults) == 0):
		return errors.New("vaults and identity belong together: tokens for those vaults are given through the managed identity")
	case len(c.Keys) > maxNames || len(c.Vaults) > maxNames:
		return fmt.Errorf("at most %d keys and %d vaults", maxNames, maxNames)
	}
	if err := checkKeys(c.Keys); err != nil {
		return err
	}
	for _, v := range c.Vaults {
		if host, ok := strings.CutPrefix(v, "https://"); !ok || !bareHost(host) {
			return fmt.Errorf("vault %.256q: want https://HOST[:PORT] in small letters, without a path", v)
		}
	}
	return c.Identity.check()
}

func checkKeys(keys []string) error {
	for _, k := range keys {
		if _, _, err := agent.SplitKeyURL(k); err != nil {
			return err
		}
		if host, _, _ := strings.Cut(strings.TrimPrefix(k, "https://"), "/"); !bareHost(host) {
			return fmt.Errorf("key %.256q: want its host in small letters", k)
		}
	}
	return nil
}

func (i *Identity) check() error {
	if i == nil {
		return nil
	}
	atMetadata := i.Address == MetadataAddress
	if atMetadata && !i.Metadata {
		return fmt.Errorf("identity.address %s is for the metadata service: say \"metadata\": true", i.Address)
	}
	if i.Address != "" && !atMetadata {
		if err := checkLoopback(i.Address); err != nil {
			return fmt.Errorf("identity.address: %w, or %s", err, MetadataAddress)
		}
	}
	if !clean(i.Environment) && (i.Environment != "" || !atMetadata) || len(i.ClientID) > 128 {
		return fmt.Errorf("identity.environment %q: want an absolute path, and a client_id of at most 128 characters", i.Environment)
	}
	return nil
}

// clean says that a path is absolute and has one spelling.
func clean(p string) bool {
	return path.IsAbs(p) && path.Clean(p) == p && p != "/" && !strings.ContainsRune(p, 0)
}

// checkLoopback wants a literal address: a name may be pointed elsewhere.
func checkLoopback(address string) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil || !a.Addr().IsLoopback() || a.Addr().Is4In6() || a.Addr().Zone() != "" {
		return fmt.Errorf("%.64q: want a loopback address and a port, as 127.0.0.1:8080 or [::1]:8080", address)
	}
	return nil
}

// bareHost says that s is HOST or HOST:PORT as it stands in a URL, in small letters.
func bareHost(s string) bool {
	u, err := url.Parse("https://" + s)
	return err == nil && s != "" && u.Host == s && u.User == nil && strings.ToLower(s) == s && u.Hostname() != ""
}
