package local

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	agent "github.com/openskr/openskr/enclave-agent"
)

// maxWaiting is how many requests of one caller are under way or wait at a time. The
// hardware answers one after the other.
const maxWaiting = 32

// caller is a Caller as it is compared.
type caller struct {
	*Caller
	uid, gid *uint32
	token    *[sha256.Size]byte // hash of it: comparing takes the same time whatever its length
	slots    chan struct{}
}

// callers are all that may ask.
type callers []*caller

// newCallers looks up names and reads tokens, which are files of who. Its error is all
// that is wrong, and wraps [agent.ErrConfig].
func newCallers(c *Config, who owners) (callers, error) {
	var out callers
	var problems []error
	for i := range c.Callers {
		one := &caller{Caller: &c.Callers[i], slots: make(chan struct{}, maxWaiting)}
		for _, err := range one.identify(who) {
			problems = append(problems, fmt.Errorf("%w: caller %s: %w", agent.ErrConfig, one.Name, err))
		}
		for _, before := range out {
			if one.token != nil && before.token != nil && *one.token == *before.token {
				problems = append(problems, fmt.Errorf("%w: callers %s and %s have the same token", agent.ErrConfig, before.Name, one.Name))
			}
		}
		out = append(out, one)
	}
	if problems != nil {
		return nil, errors.Join(problems...)
	}
	return out, nil
}

// identify looks up who the caller is.
func (c *caller) identify(who owners) (problems []error) {
	var err error
	if c.uid, err = lookUp(c.User, userID); err != nil {
		problems = append(problems, err)
	}
	if c.gid, err = lookUp(c.Group, groupID); err != nil {
		problems = append(problems, err)
	}
	if c.TokenFile != "" {
		if c.token, err = readToken(c.TokenFile, who); err != nil {
			problems = append(problems, err)
		}
	}
	return problems
}

func userID(name string) (string, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return "", err
	}
	return u.Uid, nil
}

func groupID(name string) (string, error) {
	g, err := user.LookupGroup(name)
	if err != nil {
		return "", err
	}
	return g.Gid, nil
}

// lookUp gives the number of a name, nil for no name.
func lookUp(name string, find func(string) (string, error)) (*uint32, error) {
	if name == "" {
		return nil, nil
	}
	if strings.Trim(name, "0123456789") != "" {
		var err error
		if name, err = find(name); err != nil {
			return nil, err
		}
	}
	n, err := strconv.ParseUint(name, 10, 32)
	if err != nil {
		return nil, err
	}
	id := uint32(n)
	return &id, nil
}

// readToken reads a token, which nobody else may read, and keeps its hash.
func readToken(file string, who owners) (*[sha256.Size]byte, error) {
	b, err := readOwn(file, maxToken, who, ownersAlone)
	defer clear(b)
	if err != nil {
		return nil, err
	}
	token := strings.TrimRight(string(b), "\r\n")
	if len(token) < minToken || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' }) {
		return nil, fmt.Errorf("%s: want one line of at least %d plain characters; openssl rand -hex 32 makes one", file, minToken)
	}
	sum := sha256.Sum256([]byte(token))
	return &sum, nil
}

// ownersAlone says that nobody but its owner and root reads a file. systemd hands credentials
// over with an access list, whose mask stands where the rights of the group do.
func ownersAlone(st *unix.Stat_t) bool {
	return st.Mode&0o077 == 0 || st.Mode&0o077 == 0o040 && st.Uid == 0 && st.Gid == 0
}

// errStranger says that nobody in the configuration is who asks.
var errStranger = errors.New("workload.json names no such caller")

// peer gives the callers that p is. Without a cgroup to know it by, a caller lives in the
// namespaces of this machine: user numbers mean something else in a container.
func (all callers) peer(p *peer) (out callers) {
	for _, c := range all {
		if c.uid == nil && c.gid == nil || c.uid != nil && *c.uid != p.uid || c.gid != nil && *c.gid != p.gid {
			continue
		}
		if c.Cgroup == "" && p.foreign || c.Cgroup != "" && !c.within(p.cgroup) {
			continue
		}
		out = append(out, c)
	}
	return out
}

// within says that a process in cgroup is meant.
func (c *caller) within(cgroup string) bool {
	if strings.HasSuffix(c.Cgroup, "/") {
		return strings.HasPrefix(cgroup, c.Cgroup)
	}
	return cgroup == c.Cgroup
}

// bearer gives the callers whose token that is: at most one.
func (all callers) bearer(token string) (out callers) {
	sum := sha256.Sum256([]byte(token))
	for _, c := range all {
		if c.token != nil && subtle.ConstantTimeCompare(c.token[:], sum[:]) == 1 {
			out = append(out, c)
		}
	}
	return out
}

// allow gives the first that may.
func (all callers) allow(may func(*caller) bool) (*caller, bool) {
	i := slices.IndexFunc(all, may)
	if i < 0 {
		return nil, false
	}
	return all[i], true
}

// key says whether the caller may have the key at a URL.
func (c *caller) key(keyURL string) bool {
	base, _, err := agent.SplitKeyURL(keyURL)
	return err == nil && (slices.Contains(c.Keys, keyURL) || slices.Contains(c.Keys, base))
}

// names are those of the callers, for the log.
func (all callers) names() string {
	var out []string
	for _, c := range all {
		out = append(out, c.Name)
	}
	return strings.Join(out, ",")
}

// enter takes a place in the caller's queue. leave gives it back.
func (c *caller) enter() (leave func(), ok bool) {
	select {
	case c.slots <- struct{}{}:
		return func() { <-c.slots }, true
	default:
		return nil, false
	}
}
